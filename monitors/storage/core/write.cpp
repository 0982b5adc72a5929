// Writes and changes of size. New data goes to newly allocated blocks; when it is on the device,
// one record maps them and so frees the old ones. Chunk by chunk: allocate, load partial blocks at
// the edges, merge and checksum, transfer, commit.
#include "monitors/storage/core/engine.hpp"

namespace tessera::storage {

void Engine::start_write(const Caller& caller, ObjectRef ref, uint64_t offset, Bytes data,
                         Done<size_t> done) {
    int64_t time = time_of(caller);
    bool keep_suid = caller.credentials.uid == 0;
    // Taken in the order in which requests arrive, as the home counts them.
    Holder holder = caller.reserved_by;
    Result<Object*> named = object(ref);
    VnodeId vnode = named ? (*named)->vnode : VnodeId{};
    uint32_t reserved = named ? reservations.take(holder, vnode, caller.reserved) : 0;
    wait_or_run([this, ref, offset, data, time, keep_suid, holder, vnode, reserved,
                 done = std::move(done)](const Error* refused) mutable {
        Error wrong{};
        Result<Object*> found = object(ref);
        Result<void> allowed = may_change();
        if (refused)
            wrong = *refused;
        else if (!found)
            wrong = found.error();
        else if (!allowed)
            wrong = allowed.error();
        else if ((*found)->is_directory())
            wrong = Error::IsDirectory;
        else if ((*found)->type != FileType::File)
            wrong = Error::InvalidArgument;
        else if (offset > kMaxFileSize || data.size() > kMaxFileSize - offset)
            wrong = Error::TooBig;
        if (wrong != Error{} || data.empty()) {
            reservations.put_back(holder, vnode, reserved);
            if (wrong != Error{})
                done(Fail(wrong));
            else
                done(size_t{0});
            return true;
        }
        DataOp* op =
            take_op(**found, offset / kBlockSize, (offset + data.size() - 1) / kBlockSize, true);
        if (!op) return false;
        op->reserved_by = holder;
        op->reserved = reserved;
        op->kind = DataOp::Kind::Write;
        op->offset = offset;
        op->data = data;
        op->time = time;
        op->keep_suid = keep_suid;
        op->done = std::move(done);
        schedule(**found);
        return true;
    });
}

// Takes `count` blocks into op.runs, those reserved for it first. Errors: NoSpace.
Result<void> Engine::allocate(DataOp& op, uint32_t count, uint64_t reserve) {
    uint32_t own = std::min(count, op.reserved);
    if (own == count) reserve = 0;
    if (allocator->free_blocks() < count + reserve + (reservations.total() - own))
        return Fail(Error::NoSpace);
    Object& o = *op.object;
    reservations.spend(o.vnode, own);
    op.reserved -= own;
    op.spent = own;
    uint64_t goal = UINT64_MAX;
    auto e = o.extents.find(op.first_block); // go on behind what precedes it in the file
    if (e != o.extents.begin()) {
        --e;
        goal = uint64_t{e->disk_block} + e->count;
    }
    op.runs.clear();
    for (uint32_t left = count; left > 0;) {
        Allocator::Run run = allocator->allocate(goal, left);
        ASSERT(run.count > 0); // there were enough
        left -= run.count;
        goal = UINT64_MAX;
        op.runs.push_back(run);
    }
    return {};
}

void Engine::give_back(DataOp& op) {
    for (const Allocator::Run& run : op.runs)
        allocator->free(run.first, run.count);
    op.runs.clear();
    reservations.unspend(op.object->vnode, op.spent);
    op.reserved += std::exchange(op.spent, 0);
}

// Blocks may be waiting for the log to let them go: make it, once, then try again.
void Engine::out_of_space(DataOp& op) {
    if (op.reclaimed || allocator->pending_blocks() == 0 || log.failed()) {
        if (op.position > 0) return finish(op, op.position);
        return finish(op, Fail(Error::NoSpace));
    }
    op.reclaimed = true;
    sync([this, &op](Result<void> r) {
        if (!r) return finish(op, Fail(r.error()));
        log.mark([this, &op](Result<void> r) {
            if (!r) return finish(op, Fail(r.error()));
            allocator->release(log.marked());
            run(op);
        });
    });
}

// How many more blocks can be set aside for this vNode.
uint64_t Engine::reservable(VnodeId vnode) const {
    auto left = [](uint64_t all, uint64_t taken) { return all - std::min(all, taken); };
    uint64_t total = reservations.total();
    uint64_t most = left(allocator->free_blocks(), kDataReserve + total);
    if (auto root = index->roots().find(vnode); root != index->roots().end())
        if (uint64_t quota = root->second.quota_bytes / kBlockSize)
            most = std::min(most, left(quota, root->second.used_blocks + reservations.of(vnode)));
    uint64_t area = uint64_t{header.snapshot_blocks} * kStreamPayload / 10 * 9;
    uint64_t entries = left(area, index->snapshot_bytes() + kib(4)) / kSnapshotPerBlock;
    most = std::min(most, left(entries, total));
    uint64_t memory = left(options.memory_budget, index->memory() + PathCache::memory() + kib(64));
    return std::min(most, left(memory / kMemoryPerBlock, total));
}

uint64_t Engine::grant(Holder holder, VnodeId vnode, uint64_t had, uint64_t more) {
    uint64_t granted = std::min(more, reservable(vnode));
    reservations.set(holder, vnode, reservations.of(holder, vnode) + granted);
    return had + granted;
}

// Writes that arrive while blocks are being reclaimed take from the account as it is then, so what
// is asked for is counted from now.
void Engine::reserve(Holder holder, VnodeId vnode, uint64_t blocks, Done<uint64_t> done) {
    Result<void> allowed = may_change();
    if (!allowed) return done(Fail(allowed.error()));
    if (!holder) return done(Fail(Error::InvalidArgument));
    uint64_t had = reservations.of(holder, vnode);
    if (blocks <= had) {
        reservations.set(holder, vnode, blocks);
        return done(blocks);
    }
    uint64_t more = blocks - had;
    if (more <= reservable(vnode) || allocator->pending_blocks() == 0)
        return done(grant(holder, vnode, had, more));
    sync([this, holder, vnode, had, more, done = std::move(done)](Result<void> r) mutable {
        if (!r) return done(Fail(r.error()));
        log.mark([this, holder, vnode, had, more, done = std::move(done)](Result<void> r) mutable {
            if (!r) return done(Fail(r.error()));
            allocator->release(log.marked());
            done(grant(holder, vnode, had, more));
        });
    });
}

void Engine::load_edge(DataOp& op, int edge, uint64_t block) {
    MutableBytes buffer = op.edge(edge);
    std::memset(buffer.data(), 0, buffer.size());
    op.loaded[edge] = false;
    auto e = op.object->extents.find(block);
    if (e == op.object->extents.end() || e->file_block > block) return;
    op.loaded[edge] = true;
    op.loaded_from[edge] = e->disk_block + static_cast<uint32_t>(block - e->file_block);
    op.parts++;
    device.read(header.data_first + op.loaded_from[edge], buffer,
                [this, &op](Result<void> r) { part_done(op, r); });
}

void Engine::write_step(DataOp& op) {
    Object& o = *op.object;
    uint64_t at = op.offset + op.position;
    uint64_t end = op.offset + op.data.size();
    if (o.dead) return finish(op, Fail(Error::Stale));
    if (at >= end) return finish(op, op.position);
    end = std::min(end, align_down(at, kBlockSize) + DataOp::kChunkBlocks * kBlockSize);
    op.chunk = end - at;
    op.first_block = static_cast<uint32_t>(at / kBlockSize);
    op.block_count = static_cast<uint32_t>((end - 1) / kBlockSize - op.first_block + 1);

    if (Root* root = index->find_root(o.vnode); root && root->quota_bytes) {
        uint64_t added = op.block_count - o.extents.mapped_in(op.first_block, op.block_count);
        uint64_t others = reservations.of(o.vnode) - std::min(op.reserved, op.block_count);
        if (added > 0 && (root->used_blocks + added + others) * kBlockSize > root->quota_bytes) {
            if (op.position > 0) return finish(op, op.position);
            return finish(op, Fail(Error::NoSpace));
        }
    }
    Result<void> room = room_for(op.block_count * kMemoryPerBlock + kib(8),
                                 op.block_count * kSnapshotPerBlock, op.reserved);
    if (!room) return finish(op, Fail(room.error()));
    if (!allocate(op, op.block_count, kDataReserve)) return out_of_space(op);

    op.phase = DataOp::Phase::Load;
    op.parts = 1;
    op.loaded[0] = op.loaded[1] = false;
    if (at % kBlockSize || (op.block_count == 1 && end % kBlockSize))
        load_edge(op, 0, op.first_block);
    if (op.block_count > 1 && end % kBlockSize)
        load_edge(op, 1, op.first_block + op.block_count - 1);
    part_done(op, {});
}

void Engine::write_merge(DataOp& op) {
    for (int i = 0; i < 2 && op.result; i++)
        if (op.loaded[i] && !verify(op, op.loaded_from[i], op.edge(i)))
            op.result = Fail(Error::Corrupt);
    if (!op.result) {
        give_back(op);
        return finish(op, Fail(op.result.error()));
    }
    uint64_t at = op.offset + op.position;
    Bytes data = op.data.subspan(op.position, op.chunk);
    size_t head = at % kBlockSize || data.size() < kBlockSize
                      ? std::min(kBlockSize - at % kBlockSize, data.size())
                      : 0;
    size_t tail = op.block_count > 1 ? (at + data.size()) % kBlockSize : 0;
    if (head) std::memcpy(op.edge(0).data() + at % kBlockSize, data.data(), head);
    if (tail) std::memcpy(op.edge(1).data(), data.data() + data.size() - tail, tail);

    // Where each block's content is: consecutive in the caller's data except at the edges.
    op.phase = DataOp::Phase::Transfer;
    const std::byte* middle = data.data() + head; // of block 1 if there is a head, else of block 0
    auto content = [&](uint32_t i) -> const std::byte* {
        if (head && i == 0) return op.edge(0).data();
        if (tail && i == op.block_count - 1) return op.edge(1).data();
        return middle + (i - (head ? 1 : 0)) * kBlockSize;
    };
    for (uint32_t i = 0; i < op.block_count; i++)
        op.checksums[i] = checksum(Bytes(content(i), kBlockSize));
    op.parts = 1;
    uint32_t i = 0;
    for (size_t k = 0; k < op.runs.size(); k++) {
        Allocator::Run run = op.runs[k];
        for (uint32_t done = 0; done < run.count;) {
            const std::byte* from = content(i);
            uint32_t n = 1;
            while (done + n < run.count && content(i + n) == from + n * kBlockSize)
                n++;
            op.parts++;
            device.write(header.data_first + run.first + done, Bytes(from, n * kBlockSize),
                         [this, &op](Result<void> r) { part_done(op, r); });
            done += n;
            i += n;
        }
    }
    part_done(op, {});
}

void Engine::add_extents(DataOp& op) {
    uint32_t i = 0;
    for (const Allocator::Run& run : op.runs) {
        record.put_extent(op.object->ref.id, op.first_block + i, run.first,
                          std::span(op.checksums).subspan(i, run.count));
        i += run.count;
    }
    op.runs.clear();
}

void Engine::write_commit(DataOp& op) {
    Object& o = *op.object;
    if (op.result) {
        Result<void> allowed = may_change();
        if (!allowed) op.result = allowed;
        if (o.dead) op.result = Fail(Error::Stale);
    }
    if (!op.result) {
        give_back(op);
        return finish(op, Fail(op.result.error()));
    }
    add_extents(op);
    uint64_t size = std::max<uint64_t>(o.size, op.offset + op.position + op.chunk);
    if (!op.keep_suid && (o.mode & 06000)) {
        ObjectItem item = item_of(o);
        item.mode = static_cast<uint16_t>(item.mode & ~((o.mode & 010) ? 06000u : 04000u));
        item.size = size;
        item.mtime = item.ctime = op.time;
        record.put_object(item);
    } else {
        record.touch(o.ref.id, size, op.time, op.time);
    }
    op.spent = 0;
    unflushed_bytes_ += op.chunk;
    op.position += op.chunk;
    op.reclaimed = false;
    commit({&o});
    write_step(op);
}

void Engine::start_resize(const Caller& caller, ObjectRef ref, const SetAttributes& change,
                          Done<Attributes> done) {
    // Rights are checked against the state found when the request arrives.
    Result<Object*> found = object(ref);
    Result<SetAttributes> checked = found ? checked_change(caller, **found, change)
                                          : Result<SetAttributes>(Fail(found.error()));
    if (!checked) return done(Fail(checked.error()));
    wait_or_run([this, ref, s = *checked, time = time_of(caller),
                 done = std::move(done)](const Error* refused) mutable {
        Result<Object*> found = object(ref);
        Result<void> allowed = may_change();
        Error wrong = refused    ? *refused
                      : !found   ? found.error()
                      : !allowed ? allowed.error()
                                 : Error{};
        if (wrong != Error{}) {
            done(Fail(wrong));
            return true;
        }
        // Which blocks change depends on the size then: exclude everything.
        DataOp* op = take_op(**found, 0, UINT64_MAX, true);
        if (!op) return false;
        op->kind = DataOp::Kind::Resize;
        op->time = time;
        op->change = s;
        op->done_attributes = std::move(done);
        schedule(**found);
        return true;
    });
}

// Bytes beyond the end in the last block are always zero, so growing again shows zeros: cutting
// inside a block rewrites it.
void Engine::resize_step(DataOp& op) {
    Object& o = *op.object;
    if (o.dead) return finish(op, Fail(Error::Stale));
    if (op.change.only_grow) op.change.size = std::max<uint64_t>(op.change.size, o.size);
    op.phase = DataOp::Phase::Load;
    op.parts = 1;
    op.loaded[0] = op.loaded[1] = false;
    op.first_block = static_cast<uint32_t>(op.change.size / kBlockSize);
    if (op.change.size < o.size && op.change.size % kBlockSize &&
        o.extents.mapped_in(op.first_block, 1) > 0) {
        op.block_count = 1;
        if (!allocate(op, 1, 0)) return out_of_space(op);
        load_edge(op, 0, op.first_block);
    }
    part_done(op, {});
}

void Engine::resize_merge(DataOp& op) {
    if (op.result && op.loaded[0] && !verify(op, op.loaded_from[0], op.edge(0)))
        op.result = Fail(Error::Corrupt);
    op.phase = DataOp::Phase::Transfer;
    op.parts = 1;
    if (op.result && !op.runs.empty()) {
        size_t keep = op.change.size % kBlockSize;
        std::memset(op.edge(0).data() + keep, 0, kBlockSize - keep);
        op.checksums[0] = checksum(op.edge(0));
        op.parts++;
        device.write(header.data_first + op.runs[0].first, op.edge(0),
                     [this, &op](Result<void> r) { part_done(op, r); });
    }
    part_done(op, {});
}

void Engine::resize_commit(DataOp& op) {
    Object& o = *op.object;
    if (op.result) {
        Result<void> allowed = may_change();
        if (!allowed) op.result = allowed;
        if (o.dead) op.result = Fail(Error::Stale);
    }
    if (!op.result) {
        give_back(op);
        return finish(op, Fail(op.result.error()));
    }
    if (op.change.size < o.size) {
        uint64_t from = (op.change.size + kBlockSize - 1) / kBlockSize;
        record.punch(o.ref.id, static_cast<uint32_t>(from),
                     UINT32_MAX - static_cast<uint32_t>(from));
    }
    add_extents(op);
    ObjectItem item = item_of(o);
    apply_change(item, op.change, op.time);
    record.put_object(item);
    commit({&o});
    finish(op, size_t{0});
}

} // namespace tessera::storage
