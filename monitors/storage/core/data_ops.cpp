// Data operations: how they wait for each other, and reads.
//
// Operations on one object that touch the same blocks run in the order of their arrival, except
// that reads overlap. A read therefore never sees half of a write, and blocks under a read are not
// reused.
#include "monitors/storage/core/engine.hpp"

namespace tessera::storage {

DataOp* Engine::take_op(Object& o, uint64_t first, uint64_t last, bool exclusive) {
    if (idle_ops_.empty()) return nullptr;
    DataOp* op = idle_ops_.back().release();
    idle_ops_.pop_back();
    op->first = first;
    op->last = last;
    op->exclusive = exclusive;
    op->running = false;
    op->phase = DataOp::Phase::Start;
    op->object = &o;
    op->position = 0;
    op->reclaimed = false;
    op->reserved = op->spent = 0;
    op->result = {};
    op->runs.clear();
    op->segments.clear();
    o.io.push_back(*op);
    return op;
}

void Engine::unpin(Object& o) {
    if (--o.pins == 0 && o.dead && o.io.empty()) index->bury(o);
}

void Engine::schedule(Object& o) {
    o.pins++;
    // A run may finish at once and change the list: look again from the start after each.
    for (bool again = true; again;) {
        again = false;
        for (IoNode& node : o.io) {
            if (node.running) continue;
            bool blocked = false;
            for (IoNode& before : o.io) {
                if (&before == &node) break;
                if ((blocked = before.conflicts(node))) break;
            }
            if (blocked) continue;
            node.running = true;
            run(static_cast<DataOp&>(node));
            again = true;
            break;
        }
    }
    unpin(o);
}

void Engine::run(DataOp& op) {
    switch (op.kind) {
        case DataOp::Kind::Read:
            return read_step(op);
        case DataOp::Kind::Write:
            return write_step(op);
        case DataOp::Kind::Resize:
            return resize_step(op);
    }
}

void Engine::finish(DataOp& op, Result<size_t> result) {
    Object& o = *op.object;
    Done<size_t> done = std::move(op.done);
    Done<Attributes> done_attributes = std::move(op.done_attributes);
    Result<Attributes> after = Fail(Error::Stale);
    if (!result)
        after = Fail(result.error());
    else if (!o.dead && op.kind == DataOp::Kind::Resize)
        after = attributes(o);
    if (op.reserved && result)
        reservations.spend(o.vnode, op.reserved);
    else if (op.reserved)
        reservations.put_back(op.reserved_by, o.vnode, op.reserved);
    op.reserved = 0;
    o.pins++;
    op.link.unlink();
    op.object = nullptr;
    op.done = nullptr;
    op.done_attributes = nullptr;
    idle_ops_.emplace_back(&op);
    schedule(o);
    unpin(o);
    if (done) done(result);
    if (done_attributes) done_attributes(after);
    pump();
}

// One device request of the operation ended (or its submitter has submitted the last).
void Engine::part_done(DataOp& op, Result<void> result) {
    if (!result && op.result) op.result = result;
    ASSERT(op.parts > 0);
    if (--op.parts > 0) return;
    if (op.kind == DataOp::Kind::Read) return read_finish(op);
    bool write = op.kind == DataOp::Kind::Write;
    if (op.phase == DataOp::Phase::Load) return write ? write_merge(op) : resize_merge(op);
    op.phase = DataOp::Phase::Commit;
    if (commit_waiting_.empty() && can_commit())
        return write ? write_commit(op) : resize_commit(op);
    commit_waiting_.push_back(&op);
    maintain();
}

bool Engine::verify(const DataOp& op, uint32_t disk_block, Bytes block) {
    if (checksum(block) == index->checksum_of(disk_block)) return true;
    checksum_errors++;
    LOG(Failure, "store", "file %llu: block %llu does not match its checksum",
        static_cast<unsigned long long>(op.object->ref.id.value),
        static_cast<unsigned long long>(header.data_first + disk_block));
    return false;
}

void Engine::start_read(ObjectRef ref, uint64_t offset, MutableBytes into, Done<size_t> done) {
    wait_or_run([this, ref, offset, into, done = std::move(done)](const Error* refused) mutable {
        if (refused) {
            done(Fail(*refused));
            return true;
        }
        Result<Object*> found = object(ref);
        Error wrong{};
        if (!found)
            wrong = found.error();
        else if ((*found)->is_directory())
            wrong = Error::IsDirectory;
        else if ((*found)->type != FileType::File)
            wrong = Error::InvalidArgument;
        if (wrong != Error{}) {
            done(Fail(wrong));
            return true;
        }
        if (into.empty() || offset >= kMaxFileSize) {
            done(size_t{0});
            return true;
        }
        into = into.first(std::min<uint64_t>(into.size(), kMaxFileSize - offset));
        DataOp* op =
            take_op(**found, offset / kBlockSize, (offset + into.size() - 1) / kBlockSize, false);
        if (!op) return false;
        op->kind = DataOp::Kind::Read;
        op->offset = offset;
        op->into = into;
        op->done = std::move(done);
        schedule(**found);
        return true;
    });
}

// Starts reading the next chunk: holes are zeroed, whole blocks go straight to the caller, the
// partial ones at both ends through the bounce blocks.
void Engine::read_step(DataOp& op) {
    Object& o = *op.object;
    uint64_t end = std::min<uint64_t>(o.size, op.offset + op.into.size());
    uint64_t at = op.offset + op.position;
    if (o.dead || at >= end) return finish(op, op.position);
    end = std::min(end, align_down(at, kBlockSize) + DataOp::kChunkBlocks * kBlockSize);
    op.chunk = end - at;
    op.segments.clear();
    op.parts = 1;
    std::byte* to = op.into.data() + op.position;
    int edges = 0;
    while (at < end) {
        uint64_t block = at / kBlockSize;
        auto e = o.extents.find(block);
        if (e == o.extents.end() || e->file_block > block) {
            uint64_t hole_end =
                e == o.extents.end() ? end : std::min(end, e->file_block * kBlockSize);
            std::memset(to, 0, hole_end - at);
            to += hole_end - at;
            at = hole_end;
            continue;
        }
        uint32_t disk = e->disk_block + static_cast<uint32_t>(block - e->file_block);
        DataOp::Segment s{disk, 1, to, -1, at % kBlockSize, 0, to};
        if (s.skip != 0 || end - at < kBlockSize) {
            s.edge = edges++;
            s.at = op.edge(s.edge).data();
            s.length = std::min<uint64_t>(kBlockSize - s.skip, end - at);
        } else {
            s.count = static_cast<uint32_t>(std::min(e->end() - block, (end - at) / kBlockSize));
            s.length = s.count * kBlockSize;
        }
        to += s.length;
        at += s.length;
        op.segments.push_back(s);
    }
    for (size_t i = 0; i < op.segments.size(); i++) { // completions come to the same operation
        const DataOp::Segment& s = op.segments[i];
        op.parts++;
        device.read(header.data_first + s.disk_block, MutableBytes(s.at, s.count * kBlockSize),
                    [this, &op](Result<void> r) { part_done(op, r); });
    }
    part_done(op, {});
}

void Engine::read_finish(DataOp& op) {
    for (const DataOp::Segment& s : op.segments) {
        for (uint32_t i = 0; op.result && i < s.count; i++)
            if (!verify(op, s.disk_block + i, Bytes(s.at + i * kBlockSize, kBlockSize)))
                op.result = Fail(Error::Corrupt);
        if (op.result && s.edge >= 0) std::memcpy(s.target, s.at + s.skip, s.length);
    }
    if (!op.result) {
        std::memset(op.into.data(), 0, op.into.size()); // nothing unverified is left to be seen
        return finish(op, Fail(op.result.error()));
    }
    op.position += op.chunk;
    read_step(op);
}

} // namespace tessera::storage
