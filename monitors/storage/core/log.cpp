#include "monitors/storage/core/log.hpp"

#include <algorithm>

namespace tessera::storage {

Log::Log(DeviceQueue& device, LogListener& listener)
    : device_(device), listener_(listener), ring_(new std::byte[kRing * kBlockSize]) {}

void Log::start(const Place& place) {
    place_ = place;
    writer_.start({kLogMagic, place.store, place.epoch}, place.next);
    submitted_ = written_ = durable_ = place.next;
    marked_ = 0;
    start_ = place.start;
    lsn_ = place.lsn;
}

bool Log::can_append(size_t items) const {
    uint64_t end = writer_.sequence() + StreamWriter::blocks_for(items) + 2; // a cut and a marker
    return end - written_ <= kRing && end - start_ + kReserve <= place_.blocks;
}

void Log::append(Bytes items) {
    writer_.append(items, ++lsn_, durable_, [this](uint64_t sequence) { return slot(sequence); });
    records++;
    if (writer_.sequence() - submitted_ >= kBatch) write_sealed();
}

uint64_t Log::cut() {
    writer_.seal(durable_);
    return writer_.sequence();
}

void Log::truncate(uint64_t sequence) {
    start_ = std::max(start_, sequence);
    // Recovery begins here now: what was freed before can never be seen again.
    marked_ = std::max(marked_, std::min(sequence, durable_));
    listener_.log_progressed();
}

void Log::sync(Waiter done) {
    if (failed_) return done(Fail(error_));
    if (clean()) return done({});
    next_round_.push_back(std::move(done));
    pump();
}

void Log::mark(Waiter done) {
    if (failed_) return done(Fail(error_));
    writer_.seal(durable_);
    // kReserve and the ring's slack always leave room for the few markers under way.
    if (writer_.sequence() - written_ < kRing)
        writer_.append_marker(durable_, slot(writer_.sequence()));
    next_round_.push_back(std::move(done));
    pump();
}

void Log::write_sealed() {
    while (submitted_ < writer_.sequence()) {
        uint64_t first = submitted_;
        uint64_t count = writer_.sequence() - first;
        count = std::min(count, kRing - first % kRing);
        count = std::min(count, place_.blocks - first % place_.blocks);
        submitted_ += count;
        device_.write(place_.first_block + first % place_.blocks,
                      Bytes(slot(first), count * kBlockSize),
                      [this, first, count](Result<void> r) { wrote(first, count, r); });
    }
}

void Log::wrote(uint64_t first, uint64_t count, Result<void> result) {
    if (!result) return fail(result.error());
    for (uint64_t s = first; s < first + count; s++)
        written_flags_[s % kRing] = true;
    while (written_ < submitted_ && written_flags_[written_ % kRing]) {
        written_flags_[written_ % kRing] = false;
        written_++;
    }
    pump();
    listener_.log_progressed();
}

void Log::pump() {
    if (failed_ || flushing_) return;
    if (round_.empty()) {
        if (next_round_.empty()) return;
        round_.swap(next_round_);
        round_target_ = cut();
    }
    write_sealed();
    if (!flushing_ && written_ >= round_target_ && !round_.empty()) flush();
}

void Log::flush() {
    flushing_ = true;
    uint64_t upto = written_;
    device_.flush([this, upto](Result<void> r) {
        if (!r) return fail(r.error());
        flushing_ = false;
        // The last flushed block says what it knew to be durable.
        if (upto > durable_) {
            StreamBlock h = load<StreamBlock>(Bytes(slot(upto - 1), sizeof(StreamBlock)));
            if (h.sequence == upto - 1) marked_ = std::max<uint64_t>(marked_, h.durable);
        }
        durable_ = std::max(durable_, upto);
        std::vector<Waiter> finished;
        if (durable_ >= round_target_) finished.swap(round_);
        listener_.log_progressed();
        for (auto& done : finished)
            done({});
        pump();
    });
}

void Log::fail(Error e) {
    if (failed_) return;
    failed_ = true;
    error_ = e;
    flushing_ = false;
    listener_.log_failed(e);
    std::vector<Waiter> waiting;
    waiting.swap(round_);
    for (auto& done : next_round_)
        waiting.push_back(std::move(done));
    next_round_.clear();
    for (auto& done : waiting)
        done(Fail(e));
}

} // namespace tessera::storage
