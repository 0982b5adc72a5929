// check(): the structure of the index, its agreement with the allocator, and optionally every block
// of data against its checksum.
#include "monitors/storage/core/engine.hpp"
#include "monitors/storage/core/verify.hpp"

#include "base/format.hpp"

namespace tessera::storage {

// Owns itself from start() to its completion. Reads the data through the normal read operation,
// file by file, so it may run while the store works.
class CheckRun {
  public:
    CheckRun(Engine& engine, Done<CheckReport> done) : engine_(engine), done_(std::move(done)) {}

    void start(const CheckOptions& options) {
        structure();
        if (!options.data) return finish();
        for (Object& o : engine_.index->all())
            if (o.extents.blocks() > 0) files_.push_back(o.ref);
        buffer_.resize(DataOp::kChunkBlocks * kBlockSize);
        next();
    }

  private:
    void problem(const char* sentence) {
        report_.problem_count++;
        if (report_.problems.size() < 32) report_.problems.emplace_back(sentence);
    }

    void structure() {
        Index& index = *engine_.index;
        Allocator used(index.data_blocks());
        verify_index(index, used, [this](const char* sentence) { problem(sentence); });
        for (Object& o : index.all()) {
            if (o.type == FileType::File)
                report_.files++;
            else if (o.is_directory())
                report_.directories++;
            else
                report_.others++;
            if (o.nlink == 0) report_.orphans++;
        }
        report_.blocks_total = index.data_blocks();
        report_.blocks_used = index.data_blocks() - used.free_blocks();
        // Blocks of operations under way and those waiting for reuse are used here, not there.
        for (uint64_t b = 0; b < index.data_blocks(); b++)
            if (used.is_used(static_cast<uint32_t>(b)) &&
                !engine_.allocator->is_used(static_cast<uint32_t>(b)))
                problem("a block of a file is free in the allocator");
    }

    void next() {
        while (!files_.empty()) {
            Object* o = engine_.index->find(files_.back());
            if (o) {
                auto e = o->extents.find(offset_ / kBlockSize);
                if (e != o->extents.end()) {
                    offset_ = std::max(offset_, uint64_t{e->file_block} * kBlockSize);
                    uint64_t n = std::min(buffer_.size(), (e->end() * kBlockSize) - offset_);
                    return read(n);
                }
            }
            files_.pop_back();
            offset_ = 0;
        }
        finish();
    }

    void read(uint64_t length) {
        ObjectRef file = files_.back();
        engine_.start_read(file, offset_, MutableBytes(buffer_).first(length),
                           [this, file, length](Result<size_t> r) {
                               if (!r && r.error() != Error::Stale) {
                                   char line[160];
                                   format_text(line, sizeof line, "file %llu, offset %llu: %s",
                                               static_cast<unsigned long long>(file.id.value),
                                               static_cast<unsigned long long>(offset_),
                                               describe(r.error()).data());
                                   problem(line);
                               } else if (r) {
                                   report_.blocks_verified += (*r + kBlockSize - 1) / kBlockSize;
                               }
                               offset_ += length;
                               next();
                           });
    }

    void finish() {
        Done<CheckReport> done = std::move(done_);
        CheckReport report = std::move(report_);
        delete this;
        done(std::move(report));
    }

    Engine& engine_;
    Done<CheckReport> done_;
    CheckReport report_;
    std::vector<ObjectRef> files_;
    std::vector<std::byte> buffer_;
    uint64_t offset_ = 0;
};

void Engine::check(const CheckOptions& options, Done<CheckReport> done) {
    (new CheckRun(*this, std::move(done)))->start(options);
}

} // namespace tessera::storage
