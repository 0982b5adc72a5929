#include "monitors/storage/core/verify.hpp"

#include "base/format.hpp"

namespace tessera::storage {
namespace {

class Verifier {
  public:
    Verifier(Index& index, Allocator& used, ProblemSink& sink)
        : index_(index), used_(used), sink_(sink) {}

    uint64_t run() {
        for (Object& o : index_.all())
            o.mark = 0;
        for (auto& [vnode, root] : index_.roots())
            check_root(vnode, root);
        std::map<VnodeId, uint64_t> blocks;
        for (Object& o : index_.all()) {
            if (o.is_directory())
                check_directory(o);
            else
                check_file(o);
            check_extents(o);
            blocks[o.vnode] += o.extents.blocks();
        }
        check_reachable();
        for (auto& [vnode, root] : index_.roots())
            if (root.used_blocks != blocks[vnode])
                problem("vNode %llu: %llu blocks counted, %llu in use", vnode.value,
                        root.used_blocks, blocks[vnode]);
        return problems_;
    }

  private:
    static constexpr uint64_t kRoot = 1;

    template <typename... Numbers>
    void problem(const char* format, Numbers... numbers) {
        problems_++;
        char line[160];
        format_number(line, sizeof line, format, static_cast<unsigned long long>(numbers)...);
        sink_(line);
    }
    static void format_number(char* out, size_t size, const char* format, ...) {
        va_list arguments;
        va_start(arguments, format);
        format_arguments(out, size, format, arguments);
        va_end(arguments);
    }

    void check_root(VnodeId vnode, const Root& root) {
        Object* o = index_.find(root.directory);
        if (!o || !o->is_directory())
            return problem("vNode %llu: its root is missing", vnode.value);
        if (o->mark == kRoot) problem("directory %llu is the root of two vNodes", o->ref.id.value);
        o->mark = kRoot;
        if (o->parent != o->ref.id) problem("root %llu has another parent", o->ref.id.value);
        if (o->names) problem("root %llu has a name", o->ref.id.value);
        if (o->vnode != vnode) problem("root %llu belongs to another vNode", o->ref.id.value);
    }

    void check_directory(Object& o) {
        uint64_t subdirectories = 0;
        for (const Directory::Slot& s : o.directory->slots) {
            if (!s.entry) continue;
            const Object& child = *s.entry->target;
            if (child.is_directory()) {
                subdirectories++;
                if (child.parent != o.ref.id)
                    problem("directory %llu is in %llu, but its parent is %llu", child.ref.id.value,
                            o.ref.id.value, child.parent.value);
            }
        }
        if (o.names > 1) problem("directory %llu has %llu names", o.ref.id.value, o.names);
        bool doomed = o.names == 0 && o.mark != kRoot;
        if (doomed ? o.nlink != 0 : o.nlink != 2 + subdirectories)
            problem("directory %llu: link count %llu, expected %llu", o.ref.id.value, o.nlink,
                    doomed ? 0 : 2 + subdirectories);
        if (o.extents.blocks()) problem("directory %llu has blocks", o.ref.id.value);
    }

    void check_file(Object& o) {
        if (o.nlink != o.names)
            problem("object %llu: link count %llu, but %llu names", o.ref.id.value, o.nlink,
                    o.names);
    }

    void check_extents(Object& o) {
        uint64_t end = (o.size + kBlockSize - 1) / kBlockSize;
        for (const Extent& e : o.extents) {
            if (e.end() > end)
                problem("file %llu: blocks beyond its end (%llu > %llu)", o.ref.id.value, e.end(),
                        end);
            if (!used_.mark(e.disk_block, e.count))
                problem(
                    "file %llu: blocks from %llu, %llu in number, are in use twice or out of range",
                    o.ref.id.value, e.disk_block, e.count);
        }
    }

    // No directory is its own ancestor: from each, the way up ends at a root or at one without a
    // name.
    void check_reachable() {
        uint64_t walk = kRoot;
        for (Object& o : index_.all()) {
            if (!o.is_directory() || o.mark) continue;
            walk++;
            Object* at = &o;
            while (at && at->mark == 0) {
                at->mark = walk;
                at = at->names == 0 ? nullptr : index_.find(at->parent);
            }
            if (at && at->mark == walk) {
                problem("directory %llu is inside itself", at->ref.id.value);
                continue;
            }
        }
    }

    Index& index_;
    Allocator& used_;
    ProblemSink& sink_;
    uint64_t problems_ = 0;
};

} // namespace

uint64_t verify_index(Index& index, Allocator& used, ProblemSink problem) {
    return Verifier(index, used, problem).run();
}

} // namespace tessera::storage
