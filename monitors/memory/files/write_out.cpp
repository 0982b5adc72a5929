// Write-out: dirty pages, sizes and times go back to the store; sync waits until they are durable.
#include <algorithm>

#include "base/log.hpp"
#include "monitors/memory/files/file_home.hpp"
#include "monitors/memory/files/home_operation.hpp"

namespace tessera::mmon {

using namespace schema;

namespace {
constexpr unsigned kRunPages = kMaxFileData / kPageSize;
constexpr unsigned kMaxUnderWay = 4; // write-outs of one file at a time

FileTarget target_of(const CachedFile& f) {
    FileTarget t;
    t.vnode = f.key.vnode.value;
    t.file.id = f.key.id.value;
    t.file.generation = f.key.generation.value;
    return t;
}

// Whether the request may or may not have been executed.
bool unanswered(Error e) {
    return e == Error::Timeout || e == Error::Disconnected || e == Error::OutcomeUnknown ||
           e == Error::Dead;
}
} // namespace

void FileHome::want_write_out(CachedFile& f) {
    f.write_upto = change_;
    write_out(f);
}

bool FileHome::older_dirty(const CachedFile& f, uint64_t change) const {
    if (f.size_changed && f.size_changed <= change) return true;
    if (f.dirty_pages == 0) return false;
    for (auto& [n, page] : f.pages)
        if (page.changed && page.changed <= change) return true;
    return false;
}

// Starts as many write-outs of runs of dirty pages as may be under way. Each carries the size and
// time.
void FileHome::write_out(CachedFile& f) {
    rpc::Peer* store = store_of(f);
    if (!store) return;
    auto at = f.pages.begin();
    while (f.under_way < kMaxUnderWay && f.dirty()) {
        while (at != f.pages.end() && (!at->second.changed || at->second.sending))
            ++at;
        bool size_only = at == f.pages.end();
        // The size alone goes only when no page carries it.
        if (size_only && (!f.size_changed || f.under_way)) return;
        StoreData h;
        h.target = target_of(f);
        h.size = f.size;
        h.modified_ns = static_cast<uint64_t>(f.modified_ns);
        uint64_t first = size_only ? 0 : at->first.value;
        unsigned count = 0, blocks = 0;
        size_t length = 0;
        while (at != f.pages.end() && count < kRunPages && at->first.value == first + count &&
               at->second.changed && !at->second.sending) {
            size_t n = std::min<uint64_t>(kPageSize,
                                          f.size - std::min(f.size, at->first.value * kPageSize));
            std::memcpy(scratch_.get() + length, frames_.bytes(at->second.frame).data(), n);
            length += n;
            at->second.sending = true;
            blocks += at->second.reserved;
            unreserve(f, at->second);
            count++;
            ++at;
        }
        h.offset = first * kPageSize;
        StoreSpace& space = spaces_[f.key.vnode];
        blocks = static_cast<unsigned>(std::min<uint64_t>(blocks, space.backed));
        space.backed -= blocks;
        h.reserved_blocks = blocks;
        f.under_way++;
        WriteOut w{first, count, blocks, change_};
        store->call(
            kStoreWrite, bytes_of(h), Bytes(scratch_.get(), length), store_call(),
            [this, key = f.key, w](Result<Bytes> r) { write_out_done(key, w, std::move(r)); });
    }
}

// Goes on where a write-out stopped because enough was under way.
void FileHome::go_on_writing(CachedFile& f) {
    if (f.write_upto && older_dirty(f, f.write_upto))
        write_out(f);
    else
        f.write_upto = 0;
}

// The file is gone: its data is nobody's. What is being sent or read goes when that has ended.
void FileHome::drop_all(CachedFile& f) {
    for (auto at = f.pages.begin(); at != f.pages.end();) {
        auto next = std::next(at);
        if (at->second.frame && !at->second.sending) drop_page(f, at);
        at = next;
    }
    f.size_changed = f.write_upto = 0;
    f.write_failed = false;
    f.state = CachedFile::State::Unknown;
    f.dirty_since = f.dirty() ? clock_.now() : kNever;
    drop_hold_if_clean(f);
}

// Somebody removed the file's last name, or let go of it: what is dirty of it need not wait for its
// write-out to learn that it is gone.
void FileHome::forget(FileKey key, rpc::Responder responder) {
    CachedFile* f = find(key);
    rpc::Peer* store = f ? store_of(*f) : nullptr;
    if (!store) return responder.reply({});
    f->under_way++;
    FileTarget t = target_of(*f);
    store->call(kFileAttributes, bytes_of(t), {}, store_call(),
                [this, key, responder = std::move(responder)](Result<Bytes> r) mutable {
                    CachedFile& f = *find(key);
                    f.under_way--;
                    if (!r && r.error() == Error::Stale) drop_all(f);
                    responder.reply({});
                    wake(f, {}, false);
                    wake_for_space(key.vnode);
                });
}

void FileHome::write_out_done(FileKey key, const WriteOut& w, Result<Bytes> r) {
    CachedFile& f = *find(key);
    StoreSpace& space = spaces_[key.vnode];
    f.under_way--;
    bool gone = !r && r.error() == Error::Stale;
    bool failed = !r && !gone;
    // An answer that says no gave the blocks back to the account; without one nobody knows.
    if (failed && unanswered(r.error()))
        space.doubtful = true;
    else if (!r)
        space.backed += w.blocks;
    for (unsigned i = 0; i < w.count; i++) {
        auto at = f.pages.find(PageNo(w.first + i));
        if (at == f.pages.end()) continue;
        at->second.sending = false;
        if (!at->second.changed) continue;
        if (failed) {
            reserve(f, at->second);
        } else if (at->second.changed <= w.upto) {
            at->second.changed = 0;
            f.dirty_pages--;
            counters_.dirty_pages--;
            counters_.pages_written++;
        }
    }
    if (!failed) {
        if (f.size_changed <= w.upto) f.size_changed = 0;
        uint64_t end = (w.first + w.count) * kPageSize;
        f.stored_size = std::max(f.stored_size, std::min(f.size, end));
    }
    if (gone) drop_all(f);
    if (failed) {
        LOG(Warning, "mmon", "write-out of file %llu failed: %s",
            static_cast<unsigned long long>(f.key.id.value), describe(r.error()).data());
        f.write_failed = true;
        f.write_error = r.error();
        f.write_upto = 0;
        f.dirty_since = clock_.now(); // try again after the delay
    } else {
        f.dirty_since = f.dirty() ? clock_.now() : kNever;
        drop_hold_if_clean(f);
        go_on_writing(f);
    }
    wake(f, {}, false);
    if (!space.waiting.empty()) wake_for_space(key.vnode);
}

bool FileHome::step_sync(HomeOperation& op) {
    CachedFile& f = *op.file;
    if (op.sent) return false;
    if (f.write_failed) {
        f.write_failed = false;
        op.fail(f.write_error);
        end(op);
        return true;
    }
    if (older_dirty(f, op.sync_change)) {
        write_out(f);
        return false;
    }
    rpc::Peer* store = store_of(f);
    if (!store) {
        op.fail(Error::Disconnected);
        end(op);
        return true;
    }
    op.sent = true;
    f.under_way++;
    FileTarget t = target_of(f);
    store->call(kStoreSync, bytes_of(t), {}, store_call(),
                [this, key = f.key, op = &op](Result<Bytes> r) {
                    CachedFile& f = *find(key);
                    f.under_way--;
                    std::erase(f.waiting, op);
                    if (!r) {
                        op->fail(r.error());
                    } else {
                        if (op->responder.pending()) op->responder.reply({});
                        if (op->sync_done) op->sync_done({});
                    }
                    end(*op);
                    wake(f, {}, false);
                });
    return false;
}

// A sync of every dirty file; the last of them answers.
void FileHome::sync_all(Function<void(Result<void>), 64> done) {
    auto* all = new HomeOperation;
    all->kind = HomeOperation::Kind::SyncAll;
    all->sync_done = std::move(done);
    all->children = 1;
    operations_++;
    auto child_done = [this, all](Result<void> r) {
        if (!r && !all->child_failed) {
            all->child_failed = true;
            all->child_error = r.error();
        }
        if (--all->children) return;
        if (all->child_failed)
            all->sync_done(std::unexpected(all->child_error));
        else
            all->sync_done({});
        end(*all);
    };
    std::vector<FileKey> dirty;
    for (auto& [key, f] : files_)
        if (f->dirty()) dirty.push_back(key);
    for (FileKey key : dirty) {
        CachedFile* f = find(key);
        if (!f) continue;
        auto op = std::make_unique<HomeOperation>();
        op->kind = HomeOperation::Kind::Sync;
        op->sync_change = change_;
        op->sync_done = child_done;
        op->file = f;
        all->children++;
        start(op.release());
    }
    child_done({});
}

void FileHome::take_hold(CachedFile& f) {
    if (f.held) return;
    rpc::Peer* store = store_of(f);
    if (!store) return;
    f.held = true;
    FileTarget t = target_of(f);
    store->call(kFileHold, bytes_of(t), {}, store_call(), [](Result<Bytes>) {
        // Stale: it was removed meanwhile; the write-out will say so.
    });
}

void FileHome::drop_hold_if_clean(CachedFile& f) {
    if (!f.held || f.dirty()) return;
    rpc::Peer* store = store_of(f);
    if (!store) return;
    f.held = false;
    FileTarget t = target_of(f);
    store->call(kFileRelease, bytes_of(t), {}, store_call(), [](Result<Bytes>) {});
}

void FileHome::poll() {
    Nanos now = clock_.now();
    bool pressed = over_limit(2);
    std::vector<FileKey> due;
    for (CachedFile& f : recent_)
        if (f.dirty() && (pressed || f.dirty_since + kWriteOutDelay <= now)) due.push_back(f.key);
    for (FileKey key : due)
        if (CachedFile* f = find(key)) want_write_out(*f);
    poll_space();
}

Nanos FileHome::next_deadline() const {
    Nanos next = next_space_deadline();
    for (auto& [key, f] : files_)
        if (f->dirty() && f->under_way == 0) next = std::min(next, f->dirty_since + kWriteOutDelay);
    return next;
}

} // namespace tessera::mmon
