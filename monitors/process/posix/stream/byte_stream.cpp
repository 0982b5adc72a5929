#include "monitors/process/posix/stream/byte_stream.hpp"

#include "base/format.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

void ByteStream::set_notify(Function<void()> f) {
    notify_ = std::move(f);
}

void ByteStream::notify() {
    vnode().poll_changed();
    if (notify_) notify_();
}

Result<std::vector<std::byte>> ByteStream::fetch(uint64_t offset, size_t most) {
    MutexGuard guard(mutex_);
    if (offset < first_ || offset > next_) return Fail(Error::Range);
    if (offset > first_) {
        first_ = offset;
        changed_.wake_all();
        vnode().poll_changed();
    }
    std::vector<std::byte> out(std::min<uint64_t>(most, next_ - first_));
    for (size_t i = 0; i < out.size(); i++)
        out[i] = ring_[(first_ + i) % kCapacity];
    return out;
}

size_t ByteStream::offer(Bytes b) {
    size_t n;
    {
        MutexGuard guard(mutex_);
        n = ended_ ? 0 : std::min<uint64_t>(b.size(), kCapacity - (next_ - first_));
        if (n == 0) return 0;
        if (ring_.empty()) ring_.resize(kCapacity);
        for (size_t i = 0; i < n; i++)
            ring_[(next_ + i) % kCapacity] = b[i];
        next_ += n;
        changed_.wake_all();
    }
    notify();
    return n;
}

size_t ByteStream::room() {
    MutexGuard guard(mutex_);
    return ended_ ? 0 : kCapacity - (next_ - first_);
}

void ByteStream::end() {
    {
        MutexGuard guard(mutex_);
        ended_ = true;
        changed_.wake_all();
    }
    notify();
}

bool ByteStream::ended() {
    MutexGuard guard(mutex_);
    return ended_;
}

bool ByteStream::drained_past(uint64_t offset) {
    MutexGuard guard(mutex_);
    return offset >= next_;
}

Result<size_t> ByteStream::read(MutableBytes into, bool nonblocking) {
    if (into.empty()) return 0;
    size_t n;
    {
        MutexGuard guard(mutex_);
        while (first_ == next_) {
            if (ended_) return 0;
            if (nonblocking) return Fail(Error::Again);
            TRY(block_or_fail(changed_, mutex_));
        }
        n = std::min<uint64_t>(into.size(), next_ - first_);
        for (size_t i = 0; i < n; i++)
            into[i] = ring_[(first_ + i) % kCapacity];
        first_ += n;
        changed_.wake_all();
    }
    notify();
    return n;
}

Result<size_t> ByteStream::write(Bytes from, bool nonblocking) {
    size_t done = 0;
    while (done < from.size()) {
        size_t n = offer(from.subspan(done));
        done += n;
        if (n) continue;
        MutexGuard guard(mutex_);
        if (ended_) {
            if (done) return done;
            return Fail(Error::BrokenPipe);
        }
        if (next_ - first_ < kCapacity) continue;
        Result<void> woken = nonblocking ? Fail(Error::Again) : block_or_fail(changed_, mutex_);
        if (woken) continue;
        if (done) return done;
        return Fail(woken.error());
    }
    return done;
}

uint16_t ByteStream::poll_read() {
    MutexGuard guard(mutex_);
    uint16_t r = 0;
    if (first_ != next_) r |= kPollIn | kPollReadNormal;
    if (ended_) r |= kPollHangup | (first_ == next_ ? kPollIn : 0);
    return r;
}

uint16_t ByteStream::poll_write() {
    MutexGuard guard(mutex_);
    if (ended_) return kPollError;
    return next_ - first_ < kCapacity ? kPollOut | kPollWriteNormal : 0;
}

size_t ByteStream::bytes_ready() {
    MutexGuard guard(mutex_);
    return next_ - first_;
}

void ByteStream::record(Archive& a) {
    a.number(first_);
    std::vector<std::byte> bytes;
    for (uint64_t i = first_; !a.loading() && i < next_; i++)
        bytes.push_back(ring_[i % kCapacity]);
    a.list(bytes, kCapacity, [&](std::byte& b) { a.raw({&b, 1}); });
    a.number(ended_);
    if (!a.loading()) return;
    ring_.resize(kCapacity);
    next_ = first_;
    for (std::byte b : bytes)
        ring_[next_++ % kCapacity] = b;
}

StreamEnd::StreamEnd(Vnode& v, Ref<ByteStream> s, bool output, Location where)
    : Description(v, ObjectKind::StreamEnd, output ? kOpenWrite : kOpenRead, std::move(where)),
      stream_(std::move(s)) {}

StreamEnd::~StreamEnd() {
    if ((flags_ & kOpenAccessMask) == kOpenWrite) stream_->end();
}

Result<size_t> StreamEnd::read(MutableBytes into) {
    return stream_->read(into, nonblocking());
}

Result<size_t> StreamEnd::write(Bytes from) {
    return stream_->write(from, nonblocking());
}

Result<Attributes> StreamEnd::attributes() {
    Attributes a;
    a.file.id = FileId(stream_->id());
    a.type = FileType::Fifo;
    a.mode = 0600;
    a.links = 1;
    a.accessed_ns = a.modified_ns = a.changed_ns = vnode().realtime_ns();
    return a;
}

uint16_t StreamEnd::poll() {
    return writable() ? stream_->poll_write() : stream_->poll_read();
}

std::string StreamEnd::text() const {
    char s[32];
    format_text(s, sizeof s, "pipe:[%lu]", stream_->id());
    return s;
}

void StreamEnd::record(Archive& a) {
    Description::record(a);
    uint64_t stream = stream_->id();
    a.number(stream);
}

} // namespace tessera::posix
