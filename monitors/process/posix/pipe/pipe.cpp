#include "monitors/process/posix/pipe/pipe.hpp"

#include "base/format.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

size_t Pipe::take(MutableBytes into) {
    size_t n = std::min(into.size(), count_);
    size_t head = std::min(n, kCapacity - first_);
    if (n) {
        std::memcpy(into.data(), ring_.data() + first_, head);
        std::memcpy(into.data() + head, ring_.data(), n - head);
    }
    first_ = (first_ + n) % kCapacity;
    count_ -= n;
    return n;
}

void Pipe::put(Bytes from) {
    if (ring_.empty()) ring_.resize(kCapacity);
    size_t at = (first_ + count_) % kCapacity;
    size_t head = std::min(from.size(), kCapacity - at);
    std::memcpy(ring_.data() + at, from.data(), head);
    std::memcpy(ring_.data(), from.data() + head, from.size() - head);
    count_ += from.size();
}

Result<size_t> Pipe::read(MutableBytes into, bool nonblocking) {
    if (into.empty()) return 0;
    MutexGuard guard(mutex_);
    while (count_ == 0) {
        if (writers_ == 0) return 0;
        if (nonblocking) return Fail(Error::Again);
        TRY(block_or_fail(changed_, mutex_));
    }
    size_t n = take(into);
    changed_.wake_all();
    vnode().poll_changed();
    return n;
}

Result<size_t> Pipe::write(Bytes from, bool nonblocking) {
    size_t done = 0;
    MutexGuard guard(mutex_);
    while (done < from.size()) {
        if (readers_ == 0) {
            if (done) return done;
            return Fail(Error::BrokenPipe);
        }
        size_t room = kCapacity - count_;
        size_t left = from.size() - done;
        size_t need = from.size() <= kAtomic ? left : 1;
        if (room >= need) {
            size_t n = std::min(room, left);
            put(from.subspan(done, n));
            done += n;
            changed_.wake_all();
            vnode().poll_changed();
            continue;
        }
        if (nonblocking) {
            if (done) return done;
            return Fail(Error::Again);
        }
        Result<void> woken = block_or_fail(changed_, mutex_);
        if (!woken) {
            if (done) return done;
            return Fail(woken.error());
        }
    }
    return done;
}

uint16_t Pipe::poll(bool reader, bool writer) {
    MutexGuard guard(mutex_);
    uint16_t r = 0;
    if (reader) {
        if (count_) r |= kPollIn | kPollReadNormal;
        if (writers_ == 0 && writer_opens_) r |= kPollHangup;
    }
    if (writer) {
        if (kCapacity - count_ >= kAtomic) r |= kPollOut | kPollWriteNormal;
        if (readers_ == 0 && reader_opens_) r |= kPollError;
    }
    return r;
}

size_t Pipe::bytes_ready() {
    MutexGuard guard(mutex_);
    return count_;
}

bool Pipe::has_readers() {
    MutexGuard guard(mutex_);
    return readers_ > 0;
}

void Pipe::opened(bool reader, bool writer) {
    MutexGuard guard(mutex_);
    readers_ += reader;
    writers_ += writer;
    reader_opens_ += reader;
    writer_opens_ += writer;
    changed_.wake_all();
}

void Pipe::closed(bool reader, bool writer) {
    MutexGuard guard(mutex_);
    readers_ -= reader;
    writers_ -= writer;
    if (readers_ == 0 && writers_ == 0) count_ = 0;
    changed_.wake_all();
    vnode().poll_changed();
}

Result<void> Pipe::wait_for_partner(bool reader) {
    MutexGuard guard(mutex_);
    uint64_t seen = reader ? writer_opens_ : reader_opens_;
    while ((reader ? writers_ : readers_) == 0 && (reader ? writer_opens_ : reader_opens_) == seen)
        TRY(block_or_fail(changed_, mutex_));
    return {};
}

void Pipe::record(Archive& a) {
    std::vector<std::byte> bytes;
    for (size_t i = 0; !a.loading() && i < count_; i++)
        bytes.push_back(ring_[(first_ + i) % kCapacity]);
    a.list(bytes, kCapacity, [&](std::byte& b) { a.raw({&b, 1}); });
    a.number(reader_opens_);
    a.number(writer_opens_);
    if (!a.loading()) return;
    first_ = count_ = 0;
    if (!bytes.empty()) put(bytes);
}

PipeEnd::PipeEnd(Vnode& v, Ref<Pipe> p, uint32_t flags, Location where)
    : Description(v, ObjectKind::PipeEnd, flags, std::move(where)),
      pipe_(std::move(p)),
      reads_(readable()),
      writes_(writable()) {
    pipe_->opened(reads_, writes_);
}

PipeEnd::~PipeEnd() {
    pipe_->closed(reads_, writes_);
}

Result<Attributes> PipeEnd::attributes() {
    if (where_) return where_.fs->attributes(where_.file);
    Attributes a;
    a.file.id = FileId(pipe_->id());
    a.type = FileType::Fifo;
    a.mode = 0600;
    a.links = 1;
    a.accessed_ns = a.modified_ns = a.changed_ns = vnode().realtime_ns();
    return a;
}

std::string PipeEnd::text() const {
    if (where_) return where_.path;
    char s[32];
    format_text(s, sizeof s, "pipe:[%lu]", pipe_->id());
    return s;
}

void PipeEnd::record(Archive& a) {
    Description::record(a);
    uint64_t pipe = pipe_->id();
    a.number(pipe); // whoever loads a vNode builds the end on the pipe of that id
}

Result<Ref<Description>> FifoTable::open(Vnode& v, const Location& at, uint32_t flags) {
    uint32_t access = flags & kOpenAccessMask;
    Ref<Pipe> pipe;
    {
        MutexGuard guard(mutex_);
        std::erase_if(entries_, [&](const Entry& e) {
            return e.pipe->references() == 1 && !(e.file == at.file); // only this table knows it
        });
        for (Entry& e : entries_)
            if (e.file == at.file) pipe = e.pipe;
        if (!pipe) {
            pipe = make_ref<Pipe>(v);
            entries_.push_back({at.file, pipe});
        }
    }
    if (access == kOpenWrite && (flags & kOpenNonBlock) && !pipe->has_readers())
        return Fail(Error::NoDevice);
    auto end = make_ref<PipeEnd>(v, pipe, flags, at);
    if (access != kOpenReadWrite && !(flags & kOpenNonBlock))
        TRY(pipe->wait_for_partner(access == kOpenRead));
    return Ref<Description>(end);
}

} // namespace tessera::posix
