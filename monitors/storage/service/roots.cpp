#include "monitors/storage/service/roots.hpp"

#include <string>
#include <utility>

#include "base/log.hpp"

namespace tessera::smon {

using storage::Attributes;
using storage::FileType;
using storage::ObjectRef;

namespace {
constexpr uint32_t kFilling = 0; // the mode of a root that is not complete
constexpr size_t kPiece = kib(256);
constexpr size_t kEntriesAtOnce = 256;
} // namespace

// The copy of one tree. Each step starts one operation; its completion, which may come before the
// call returns, asks for the next step. A loop takes them, so that the stack does not grow.
class Roots::Copy {
  public:
    Copy(Roots& roots, storage::Store& store, VnodeId vnode, const Attributes& root)
        : roots_(roots), store_(store), vnode_(vnode), root_(root) {}

    void run() {
        if (std::exchange(running_, true)) {
            again_ = true;
            return;
        }
        do {
            again_ = false;
            (this->*next_)();
        } while (again_);
        running_ = false;
        if (ended_) roots_.finished(vnode_, outcome_); // destroys this
    }

  private:
    using Step = void (Copy::*)();
    struct Pair {
        ObjectRef to;
        Attributes from;
    };
    struct Entry {
        std::string name;
        ObjectRef object;
    };

    void then(Step step) {
        next_ = step;
        run();
    }
    void end(Result<Attributes> outcome) {
        ended_ = true;
        outcome_ = outcome;
        next_ = &Copy::nothing;
        run();
    }
    void nothing() {}
    // For a completion whose value is handled by `f`; an error ends the copy.
    template <typename T, typename F>
    storage::Done<T> on(F f) {
        return [this, f](Result<T> r) {
            if (!r) return end(std::unexpected(r.error()));
            if constexpr (std::is_void_v<T>)
                f();
            else
                f(*r);
        };
    }

    void start() {
        store_.find_root(storage::kTemplateRoot, [this](Result<Attributes> found) {
            if (!found && found.error() == Error::NotFound) {
                LOG(Warning, "store", "the disk has no template root: vNode %u starts empty",
                    vnode_.value);
                from_.mode = 0755;
                return then(&Copy::finish);
            }
            if (!found) return end(std::unexpected(found.error()));
            from_ = *found;
            directories_.push_back({root_.object, *found});
            then(&Copy::list);
        });
    }

    // The directory at the back of the list, entry by entry.
    void list() {
        entries_.clear();
        taken_ = 0;
        const Pair& d = directories_[listed_];
        store_.readdir(
            {}, d.from.object, cookie_,
            [this](const storage::DirectoryEntry& e) {
                entries_.push_back({std::string(e.name), e.object});
                cookie_ = e.cookie;
                return entries_.size() < kEntriesAtOnce;
            },
            on<bool>([this](bool all) {
                all_ = all;
                then(&Copy::take);
            }));
    }

    void take() {
        if (taken_ == entries_.size()) {
            if (!all_) return then(&Copy::list);
            cookie_ = 0;
            return then(++listed_ == directories_.size() ? &Copy::stamp_directories : &Copy::list);
        }
        store_.getattr(entries_[taken_].object, on<Attributes>([this](const Attributes& a) {
                           source_ = a;
                           then(&Copy::make);
                       }));
    }

    void make() {
        const std::string& name = entries_[taken_].name;
        ObjectRef to = directories_[listed_].to;
        if (source_.type == FileType::Directory)
            return store_.mkdir({}, to, name, source_.mode, there<Attributes>());
        if (source_.type == FileType::Symlink)
            return store_.readlink(source_.object, on<std::string_view>([this](std::string_view t) {
                                       target_ = std::string(t);
                                       then(&Copy::make_symlink);
                                   }));
        auto linked = links_.find(source_.object.id);
        if (linked != links_.end())
            return store_.link({}, linked->second, to, name, there<Attributes>());
        storage::CreateOptions o;
        o.type = source_.type;
        o.mode = source_.mode;
        o.device = source_.device;
        store_.create({}, to, name, o,
                      on<storage::CreateResult>(
                          [this](const storage::CreateResult& r) { made(r.attributes.object); }));
    }

    void make_symlink() {
        store_.symlink({}, directories_[listed_].to, entries_[taken_].name, target_,
                       there<Attributes>());
    }

    // A name that an earlier, interrupted copy has made already is looked up.
    template <typename T>
    storage::Done<T> there() {
        return [this](Result<T> r) {
            if (r) return made(r->object);
            if (r.error() != Error::Exists) return end(std::unexpected(r.error()));
            then(&Copy::look_up);
        };
    }
    void look_up() {
        storage::LookupOptions o;
        o.follow_last = false;
        store_.lookup({}, directories_[listed_].to, entries_[taken_].name, o,
                      on<storage::LookupResult>(
                          [this](const storage::LookupResult& r) { made(r.attributes.object); }));
    }

    void made(ObjectRef object) {
        object_ = object;
        if (source_.type == FileType::Directory) {
            directories_.push_back({object, source_});
            return next_entry();
        }
        if (source_.type != FileType::File) return then(&Copy::stamp);
        if (source_.nlink > 1 && !links_.emplace(source_.object.id, object).second)
            return next_entry(); // one more name of a file that has its data
        at_ = 0;
        then(&Copy::read);
    }

    void read() {
        piece_.resize(kPiece);
        store_.read(source_.object, at_, piece_, on<size_t>([this](size_t n) {
                        piece_.resize(n);
                        written_ = 0;
                        then(n ? &Copy::write : &Copy::stamp);
                    }));
    }
    void write() {
        store_.write({}, object_, at_, Bytes(piece_).subspan(written_),
                     on<size_t>([this](size_t n) {
                         if (n == 0) return end(std::unexpected(Error::NoSpace));
                         at_ += n;
                         written_ += n;
                         then(written_ < piece_.size() ? &Copy::write : &Copy::read);
                     }));
    }

    storage::SetAttributes like(const Attributes& from) {
        storage::SetAttributes s;
        s.fields = storage::SetAttributes::Mode | storage::SetAttributes::Uid |
                   storage::SetAttributes::Gid | storage::SetAttributes::Atime |
                   storage::SetAttributes::Mtime;
        s.mode = from.mode;
        s.uid = from.uid;
        s.gid = from.gid;
        s.atime = from.atime;
        s.mtime = from.mtime;
        return s;
    }
    void stamp() {
        store_.setattr({}, object_, like(source_),
                       on<Attributes>([this](const Attributes&) { next_entry(); }));
    }
    void next_entry() {
        taken_++;
        then(&Copy::take);
    }

    // From the leaves up, the root last: until then it counts as incomplete.
    void stamp_directories() {
        if (directories_.size() == 1) {
            store_.sync(on<void>([this] { then(&Copy::finish); }));
            return;
        }
        const Pair& d = directories_.back();
        store_.setattr({}, d.to, like(d.from), on<Attributes>([this](const Attributes&) {
                           directories_.pop_back();
                           then(&Copy::stamp_directories);
                       }));
    }
    void finish() {
        storage::SetAttributes s = like(from_);
        if (directories_.empty()) s.fields = storage::SetAttributes::Mode; // no template
        store_.setattr({}, root_.object, s,
                       on<Attributes>([this](const Attributes& a) { end(a); }));
    }

    Roots& roots_;
    storage::Store& store_;
    VnodeId vnode_;
    Attributes root_, from_;
    Step next_ = &Copy::start;
    bool running_ = false, again_ = false, ended_ = false;
    Result<Attributes> outcome_ = std::unexpected(Error::Cancelled);

    std::vector<Pair> directories_; // breadth first; listed_ is the one being copied
    size_t listed_ = 0;
    std::vector<Entry> entries_; // of it; taken_ is the one being copied
    size_t taken_ = 0;
    uint64_t cookie_ = 0;
    bool all_ = false;
    Attributes source_;
    ObjectRef object_;
    std::string target_;
    std::vector<std::byte> piece_;
    uint64_t at_ = 0;
    size_t written_ = 0;
    std::map<FileId, ObjectRef> links_;
};

Roots::Roots(storage::Store& store) : store_(store) {}
Roots::~Roots() = default;

void Roots::ensure(VnodeId vnode, uint64_t quota_bytes, storage::Done<Attributes> done) {
    auto& waiting = jobs_[vnode].waiting;
    waiting.push_back(std::move(done));
    if (waiting.size() > 1) return;
    store_.find_root(vnode, [this, vnode, quota_bytes](Result<Attributes> found) {
        if (found && found->mode != kFilling) return finished(vnode, found);
        if (found) return begin(vnode, *found);
        if (found.error() != Error::NotFound) return finished(vnode, found);
        store_.create_root({}, vnode, quota_bytes, kFilling,
                           [this, vnode](Result<Attributes> made) {
                               if (!made) return finished(vnode, made);
                               begin(vnode, *made);
                           });
    });
}

void Roots::begin(VnodeId vnode, const Attributes& root) {
    Job& job = jobs_[vnode];
    job.copy = std::make_unique<Copy>(*this, store_, vnode, root);
    job.copy->run();
}

void Roots::finished(VnodeId vnode, Result<Attributes> outcome) {
    Job job = std::move(jobs_[vnode]);
    jobs_.erase(vnode);
    for (auto& done : job.waiting)
        done(outcome);
}

} // namespace tessera::smon
