#include "monitors/storage/core/checkpoint.hpp"

#include "monitors/storage/core/engine.hpp"

namespace tessera::storage {

void Checkpointer::start(storage::Done<void> done) {
    if (active_) {
        next_.push_back(std::move(done));
        return;
    }
    waiting_.push_back(std::move(done));
    begin();
}

void Checkpointer::begin() {
    active_ = true;
    phase_ = Phase::Objects;
    at_ = engine_.index->all().front();
    object_put_ = false;
    block_ = cookie_ = 0;
    reply_ = 0;
    lsn_ = 0;
    written_ = 0;
    log_start_ = engine_.log.cut();
    if (!buffer_) buffer_.reset(new std::byte[kBuffer * kBlockSize]);
    uint64_t store = load<Le64>(Bytes(engine_.header.uuid, 8));
    writer_.start({kSnapshotMagic, store, engine_.header.checkpoint + 1}, 0);
    step();
}

void Checkpointer::object_leaves(Object& o) {
    if (active_ && at_ == &o) next_object();
}

void Checkpointer::next_object() {
    at_ = engine_.index->all().next(*at_);
    object_put_ = false;
    block_ = cookie_ = 0;
}

void Checkpointer::emit() {
    if (record_.empty()) return;
    writer_.append(record_.bytes(), ++lsn_, 0, [this](uint64_t sequence) {
        return buffer_.get() + (sequence - written_) * kBlockSize;
    });
    record_.clear();
}

bool Checkpointer::fits(size_t items) {
    if (record_.room() >= items) return true;
    emit();
    return writer_.sequence() - written_ + StreamWriter::blocks_for(kMaxRecord) <= kBuffer;
}

bool Checkpointer::fill_objects() {
    constexpr uint64_t kRun = DataOp::kChunkBlocks;
    while (at_) {
        if (!object_put_) {
            if (!fits(128 + at_->target.size())) return false;
            record_.put_object(Engine::item_of(*at_));
            object_put_ = true;
        }
        for (auto e = at_->extents.find(block_); e != at_->extents.end();) {
            uint64_t from = std::max<uint64_t>(block_, e->file_block);
            uint64_t n = std::min(kRun, e->end() - from);
            if (!fits(32 + n * 4)) return false;
            uint32_t disk = e->disk_block + static_cast<uint32_t>(from - e->file_block);
            std::array<uint32_t, kRun> sums;
            for (uint32_t i = 0; i < n; i++)
                sums[i] = engine_.index->checksum_of(disk + i);
            record_.put_extent(at_->ref.id, static_cast<uint32_t>(from), disk,
                               std::span(sums).first(n));
            block_ = from + n;
            if (block_ >= e->end()) ++e;
        }
        next_object();
    }
    return true;
}

bool Checkpointer::fill_entries() {
    while (at_) {
        if (Directory* d = at_->directory.get()) {
            for (size_t i = d->position_after(cookie_); i < d->slots.size(); i++) {
                if (Entry* e = d->slots[i].entry) {
                    if (!fits(32 + kMaxName)) return false;
                    record_.put_entry({at_->ref.id, e->name(), e->target->ref.id, e->cookie});
                }
                cookie_ = d->slots[i].cookie;
            }
        }
        if (!at_->holds.empty()) { // few, and written again if the buffer is full
            for (Hold& h : at_->holds) {
                if (!fits(32)) return false;
                record_.put_hold(at_->ref.id, h.holder);
            }
        }
        next_object();
    }
    return true;
}

bool Checkpointer::fill_rest() {
    Index& index = *engine_.index;
    uint64_t first = index.replies_evicted();
    for (reply_ = std::max(reply_, first); reply_ < first + index.replies().size(); reply_++) {
        if (!fits(64)) return false;
        record_.reply(index.replies()[reply_ - first]->item);
    }
    for (auto& [vnode, root] : index.roots()) {
        if (!fits(64)) return false; // repeated from the first: the same statement again
        record_.put_root(vnode, root.directory, root.quota_bytes);
    }
    if (!fits(64)) return false;
    record_.next_id(index.next_id());
    emit();
    return true;
}

void Checkpointer::step() {
    bool full = false;
    if (phase_ == Phase::Objects) {
        full = !fill_objects();
        if (!full) {
            phase_ = Phase::Entries;
            at_ = engine_.index->all().front();
            object_put_ = false;
            block_ = cookie_ = 0;
        }
    }
    if (!full && phase_ == Phase::Entries) {
        full = !fill_entries();
        if (!full) phase_ = Phase::Rest;
    }
    if (!full && phase_ == Phase::Rest) {
        full = !fill_rest();
        if (!full) phase_ = Phase::Done;
    }
    emit();
    writer_.seal(0);
    uint64_t count = writer_.sequence() - written_;
    const StoreHeader& h = engine_.header;
    if (writer_.sequence() > h.snapshot_blocks) return finish(Fail(Error::NoSpace));
    if (count == 0) return log_ready();
    uint64_t block = h.snapshot_first[(h.checkpoint + 1) % 2] + written_;
    written_ = writer_.sequence();
    engine_.device.write(block, Bytes(buffer_.get(), count * kBlockSize), [this](Result<void> r) {
        if (!r) return finish(r);
        if (phase_ == Phase::Done) return log_ready();
        step();
    });
}

void Checkpointer::log_ready() {
    log_required_ = engine_.log.cut();
    engine_.log.sync([this](Result<void> r) {
        if (!r) return finish(r);
        engine_.device.flush([this](Result<void> r) {
            if (!r) return finish(r);
            StoreHeader& h = engine_.header;
            h.checkpoint = h.checkpoint + 1;
            h.snapshot_used = written_;
            h.log_start = log_start_;
            h.log_required = log_required_;
            h.log_minimum_epoch = static_cast<uint64_t>(h.mount_epoch);
            engine_.write_header([this](Result<void> r) {
                if (r) {
                    completed++;
                    engine_.log.truncate(log_start_);
                } else {
                    engine_.log.fail(r.error()); // which header is in force is not known any more
                }
                finish(r);
            });
        });
    });
}

void Checkpointer::finish(Result<void> result) {
    if (!result)
        LOG(Failure, "store", "checkpoint failed: %s; the log cannot be emptied",
            describe(result.error()).data());
    active_ = false;
    failed_ = !result;
    // A log that cannot be emptied ends in refusing changes, rather than in waiting for ever.
    if (failed_ && engine_.log.live() > engine_.log.capacity() / 4 * 3)
        engine_.log.fail(result.error());
    record_.clear();
    std::vector<storage::Done<void>> finished;
    finished.swap(waiting_);
    waiting_.swap(next_);
    if (!waiting_.empty()) begin();
    for (auto& done : finished)
        done(result);
    engine_.pump();
}

} // namespace tessera::storage
