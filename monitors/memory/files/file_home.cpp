#include "monitors/memory/files/file_home.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "monitors/memory/files/home_operation.hpp"

namespace tessera::mmon {

using namespace schema;

namespace {
FileKey key_of(const HomeTarget& t) {
    return {VnodeId(t.vnode), FileId(t.file.id), Generation(t.file.generation)};
}
} // namespace

FileHome::FileHome(rpc::Node& node, env::FramePool& frames, Clock& clock, const Options& options)
    : node_(node),
      frames_(frames),
      clock_(clock),
      options_(options),
      scratch_(std::make_unique<std::byte[]>(kMaxFileData)) {
    for (rpc::Opcode opcode : {kHomeRead, kHomeWrite, kHomeAttributes, kHomeChange, kHomeSync,
                               kHomeSyncAll, kHomeForget})
        node_.handle(opcode, [this, opcode](const rpc::Identity& caller, Bytes request,
                                            rpc::Responder responder) {
            on_request(opcode, caller, request, std::move(responder));
        });
}

FileHome::~FileHome() {
    ASSERT(operations_ == 0);
    for (auto& [key, f] : files_) {
        while (!f->pages.empty())
            drop_page(*f, f->pages.begin());
        recent_.remove(*f);
    }
}

void FileHome::set_store(VnodeId vnode, roce::Ipv4 store) {
    stores_[vnode] = store;
}

CachedFile* FileHome::find(FileKey key) {
    auto at = files_.find(key);
    return at == files_.end() ? nullptr : at->second.get();
}

CachedFile& FileHome::find_or_make(FileKey key, roce::Ipv4 store) {
    auto& slot = files_[key];
    if (!slot) {
        slot = std::make_unique<CachedFile>(key);
        recent_.push_back(*slot);
    }
    slot->store = store;
    touch(*slot);
    return *slot;
}

void FileHome::touch(CachedFile& f) {
    recent_.remove(f);
    recent_.push_back(f);
}

void FileHome::forget_if_idle(CachedFile& f) {
    if (!f.pages.empty() || f.dirty() || f.under_way || !f.waiting.empty() || f.held) return;
    recent_.remove(f);
    files_.erase(f.key);
}

void FileHome::on_request(rpc::Opcode opcode, const rpc::Identity&, Bytes request,
                          rpc::Responder responder) {
    using Kind = HomeOperation::Kind;
    if (request.size() < sizeof(HomeTarget)) return responder.fail(Error::Malformed);
    if (operations_ >= kMaxOperations) return responder.fail(Error::Full);
    auto target = load<HomeTarget>(request);
    set_store(VnodeId(target.vnode), roce::Ipv4(target.store_address));
    if (target.incarnation && target.incarnation != options_.incarnation.value)
        return responder.fail(Error::Lost);

    if (opcode == kHomeForget) return forget(key_of(target), std::move(responder));
    auto op = std::make_unique<HomeOperation>();
    op->responder = std::move(responder);
    if (opcode == kHomeSyncAll) {
        op->sync_done = [r = std::move(op->responder)](Result<void> result) mutable {
            if (result)
                r.reply({});
            else
                r.fail(result.error());
        };
        return sync_all(std::move(op->sync_done));
    }
    if (opcode == kHomeRead || opcode == kHomeWrite) {
        if (request.size() < sizeof(HomeData)) return op->fail(Error::Malformed);
        auto h = load<HomeData>(request);
        op->offset = h.offset;
        op->length = h.length;
        if (op->offset > (uint64_t{1} << 43)) return op->fail(Error::TooBig);
        if (opcode == kHomeRead) {
            op->kind = Kind::Read;
            if (op->length > kMaxFileData) return op->fail(Error::TooBig);
        } else {
            op->kind = Kind::Write;
            op->append = h.append;
            Bytes data = request.subspan(sizeof h);
            if (data.size() > kMaxFileData) return op->fail(Error::TooBig);
            op->data.assign(data.begin(), data.end());
        }
    } else if (opcode == kHomeChange) {
        if (request.size() < sizeof(HomeChange)) return op->fail(Error::Malformed);
        op->kind = Kind::Change;
        op->data.assign(request.begin(), request.end());
    } else {
        op->kind = opcode == kHomeSync ? Kind::Sync : Kind::Attributes;
        op->sync_change = change_;
    }
    op->file = &find_or_make(key_of(target), roce::Ipv4(target.store_address));
    start(op.release());
}

void FileHome::provide(FileKey key, PageNo first, unsigned count, ProvideDone done) {
    auto store = stores_.find(key.vnode);
    if (store == stores_.end()) return done(std::unexpected(Error::NotFound));
    if (operations_ >= kMaxOperations) return done(std::unexpected(Error::Full));
    auto op = std::make_unique<HomeOperation>();
    op->kind = HomeOperation::Kind::Provide;
    op->offset = first.value * kPageSize;
    op->length = std::min(count, kMaxProvided) * static_cast<uint32_t>(kPageSize);
    op->provide_done = std::move(done);
    op->file = &find_or_make(key, store->second);
    start(op.release());
}

void FileHome::put_page(FileKey key, PageNo page, Bytes data,
                        Function<void(Result<void>), 64> done) {
    auto store = stores_.find(key.vnode);
    if (store == stores_.end()) return done(std::unexpected(Error::NotFound));
    if (operations_ >= kMaxOperations) return done(std::unexpected(Error::Full));
    auto op = std::make_unique<HomeOperation>();
    op->kind = HomeOperation::Kind::Write;
    op->offset = page.value * kPageSize;
    op->clip = true;
    op->data.assign(data.begin(), data.end());
    op->sync_done = std::move(done);
    op->file = &find_or_make(key, store->second);
    start(op.release());
}

void FileHome::start(HomeOperation* op) {
    operations_++;
    if (!step(*op)) op->file->waiting.push_back(op);
}

void FileHome::end(HomeOperation& op) {
    operations_--;
    delete &op;
}

bool FileHome::step(HomeOperation& op) {
    switch (op.kind) {
        case HomeOperation::Kind::Read:
        case HomeOperation::Kind::Provide:
            return step_read(op);
        case HomeOperation::Kind::Write:
            return step_write(op);
        case HomeOperation::Kind::Attributes:
        case HomeOperation::Kind::Change:
            return step_change(op);
        case HomeOperation::Kind::Sync:
            return step_sync(op);
        case HomeOperation::Kind::SyncAll:
            return false;
    }
    return false;
}

// Something about the file changed. With `failed`, a request for it to the store did not work out:
// whoever waited gets that error.
void FileHome::wake(CachedFile& f, Error failure, bool failed) {
    std::vector<HomeOperation*> waiting = std::move(f.waiting);
    f.waiting.clear();
    for (HomeOperation* op : waiting) {
        if (failed && !op->sent) {
            op->fail(failure);
            end(*op);
        } else if (!step(*op)) {
            f.waiting.push_back(op);
        }
    }
    forget_if_idle(f);
}

bool FileHome::step_read(HomeOperation& op) {
    CachedFile& f = *op.file;
    if (!need_attributes(f)) return false;
    uint64_t end_offset = std::min<uint64_t>(f.size, op.offset + op.length);
    uint64_t first = op.offset / kPageSize;
    uint64_t last = end_offset > op.offset ? (end_offset - 1) / kPageSize : first;
    if (end_offset > op.offset) {
        Result<bool> here = need_pages(f, first, last);
        if (!here) {
            op.fail(here.error());
            end(op);
            return true;
        }
        if (!*here) return false;
    }
    counters_.reads++;
    if (op.kind == HomeOperation::Kind::Provide) {
        Provided out;
        out.file_size = f.size;
        for (uint64_t p = first; end_offset > op.offset && p <= last; p++) {
            auto at = f.pages.find(PageNo(p));
            if (at == f.pages.end()) { // a hole that was never stored: a page of zeros
                auto frame = new_frame();
                if (!frame) break;
                std::memset(frames_.bytes(*frame).data(), 0, kPageSize);
                out.frames[out.count++] = *frame;
                continue;
            }
            frames_.share(at->second.frame);
            out.frames[out.count++] = at->second.frame;
        }
        op.provide_done(out);
    } else {
        std::vector<std::byte> data(end_offset > op.offset ? end_offset - op.offset : 0);
        for (size_t done = 0; done < data.size();) {
            uint64_t at = op.offset + done;
            size_t n = std::min(data.size() - done, kPageSize - at % kPageSize);
            auto page = f.pages.find(PageNo(at / kPageSize));
            if (page != f.pages.end())
                std::memcpy(data.data() + done,
                            frames_.bytes(page->second.frame).data() + at % kPageSize, n);
            done += n;
        }
        op.responder.reply({}, data);
    }
    end(op);
    return true;
}

bool FileHome::step_write(HomeOperation& op) {
    CachedFile& f = *op.file;
    if (!need_attributes(f)) return false;
    if (f.write_failed) {
        f.write_failed = false;
        op.fail(f.write_error);
        end(op);
        return true;
    }
    if (over_limit(4)) {
        want_write_out(f);
        if (f.under_way) return false;
    }
    if (op.clip && op.offset + op.data.size() > f.size)
        op.data.resize(f.size > op.offset ? f.size - op.offset : 0);
    uint64_t start = op.append ? f.size : op.offset;
    uint64_t stop = start + op.data.size();
    // A page that is written in part and has other bytes in the store must be here first.
    for (uint64_t edge : {start, stop}) {
        uint64_t page_start = align_down(edge, kPageSize);
        if (edge == page_start || page_start >= f.stored_size) continue;
        if (edge == stop && stop >= f.size && start <= page_start) continue;
        Result<bool> here = need_pages(f, edge / kPageSize, edge / kPageSize);
        if (!here) {
            op.fail(here.error());
            end(op);
            return true;
        }
        if (!*here) return false;
    }
    // Each page that becomes dirty takes a block of the store; without them it is cut short.
    uint64_t need = 0, room = 0;
    auto unreserved = [&](uint64_t p) {
        auto at = f.pages.find(PageNo(p));
        return at == f.pages.end() || !at->second.reserved;
    };
    for (uint64_t p = start / kPageSize; p * kPageSize < stop; p++)
        need += unreserved(p);
    Result<bool> space = need ? need_space(op, need, room) : Result<bool>(true);
    if (!space) {
        op.fail(space.error());
        end(op);
        return true;
    }
    if (!*space) return false;
    for (uint64_t p = start / kPageSize; room < need && p * kPageSize < stop; p++) {
        if (!unreserved(p) || room-- > 0) continue;
        op.data.resize(p * kPageSize > start ? p * kPageSize - start : 0);
        if (op.data.empty()) {
            op.fail(Error::NoSpace);
            end(op);
            return true;
        }
        break;
    }
    size_t done = 0;
    while (done < op.data.size()) {
        uint64_t at = start + done;
        size_t n = std::min(op.data.size() - done, kPageSize - at % kPageSize);
        CachedPage& page = f.pages[PageNo(at / kPageSize)];
        if (!page.frame && page.sending) break;
        Result<MutableBytes> bytes = writable(f, page);
        if (!bytes) {
            if (!page.frame) f.pages.erase(PageNo(at / kPageSize));
            break;
        }
        std::memcpy(bytes->data() + at % kPageSize, op.data.data() + done, n);
        mark_dirty(f, page);
        done += n;
    }
    if (done < op.data.size() && done == 0 && !op.data.empty()) {
        op.fail(Error::NoMemory);
        end(op);
        return true;
    }
    f.size = std::max(f.size, start + done);
    f.modified_ns = clock_.now().value + options_.realtime_offset;
    if (done) mark_size_dirty(f);
    counters_.writes++;
    HomeWritten reply;
    reply.offset = start;
    reply.length = static_cast<uint32_t>(done);
    reply.size = f.size;
    if (op.responder.pending()) op.responder.reply(bytes_of(reply));
    if (op.sync_done) op.sync_done({});
    end(op);
    if (over_limit(2)) want_write_out(f);
    return true;
}

// Attributes and changes are the store's to answer; size and time are laid over its answer.
bool FileHome::step_change(HomeOperation& op) {
    CachedFile& f = *op.file;
    if (op.sent) return false;
    bool change = op.kind == HomeOperation::Kind::Change;
    bool resize = false, retime = false;
    HomeChange h;
    if (change) {
        h = load<HomeChange>(op.data);
        resize = h.change.fields & 8;
        retime = h.change.fields & 32;
        if (!need_attributes(f)) return false;
        // What is being written out carries the old size; it must land first.
        if (resize && std::any_of(f.pages.begin(), f.pages.end(),
                                  [](auto& p) { return p.second.sending || !p.second.frame; }))
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
    auto answered = [this, key = f.key, op = &op, resize, retime](Result<Bytes> r) {
        CachedFile& f = *find(key);
        f.under_way--;
        std::erase(f.waiting, op);
        if (!r || r->size() < sizeof(WireAttributes)) {
            op->fail(r ? Error::Malformed : r.error());
        } else {
            auto w = load<WireAttributes>(*r);
            if (resize) {
                truncate_pages(f, w.size);
                f.size = f.stored_size = w.size;
                f.modified_ns = static_cast<int64_t>(w.modified_ns.get());
            } else if (retime) {
                f.modified_ns = static_cast<int64_t>(w.modified_ns.get());
            }
            if (f.state == CachedFile::State::Known) {
                w.size = f.size;
                w.modified_ns = static_cast<uint64_t>(f.modified_ns);
                w.blocks = w.blocks + blocks_to_come(f);
            }
            op->responder.reply(bytes_of(w));
        }
        end(*op);
        wake(f, {}, false);
    };
    if (change) {
        store->call(kFileChange, bytes_of(h.change), {}, store_call(), std::move(answered));
    } else {
        FileTarget t;
        t.vnode = f.key.vnode.value;
        t.file.id = f.key.id.value;
        t.file.generation = f.key.generation.value;
        store->call(kFileAttributes, bytes_of(t), {}, store_call(), std::move(answered));
    }
    return false;
}

bool FileHome::need_attributes(CachedFile& f) {
    if (f.state == CachedFile::State::Known) return true;
    if (f.state == CachedFile::State::Asking) return false;
    rpc::Peer* store = store_of(f);
    if (!store) return false;
    f.state = CachedFile::State::Asking;
    f.under_way++;
    FileTarget t;
    t.vnode = f.key.vnode.value;
    t.file.id = f.key.id.value;
    t.file.generation = f.key.generation.value;
    store->call(kFileAttributes, bytes_of(t), {}, store_call(),
                [this, key = f.key](Result<Bytes> r) {
                    CachedFile& f = *find(key);
                    f.under_way--;
                    bool ok = r && r->size() >= sizeof(WireAttributes);
                    f.state = ok ? CachedFile::State::Known : CachedFile::State::Unknown;
                    if (ok) {
                        auto w = load<WireAttributes>(*r);
                        f.size = f.stored_size = w.size;
                        f.modified_ns = static_cast<int64_t>(w.modified_ns.get());
                    }
                    wake(f, r ? Error::Malformed : r.error(), !ok);
                });
    return false;
}

rpc::Peer* FileHome::store_of(CachedFile& f) {
    Result<rpc::Peer*> p = node_.peer(f.store);
    return p ? *p : nullptr;
}

rpc::CallOptions FileHome::store_call() const {
    return {.deadline = clock_.now() + kStoreDeadline, .idempotent = true};
}

} // namespace tessera::mmon
