#include "monitors/process/core/replacement.hpp"

namespace tessera::pmon {

void ClockPolicy::resize(uint32_t lines) {
    if (lines > ring_.size()) ring_.resize(lines);
}

void ClockPolicy::inserted(LineId line) {
    Links& l = ring_[line];
    if (hand_ == kNoLine) {
        l = {line, line};
        hand_ = line;
        return;
    }
    // Just behind the hand: it is looked at last.
    l = {ring_[hand_].previous, hand_};
    ring_[l.previous].next = line;
    ring_[hand_].previous = line;
}

void ClockPolicy::removed(LineId line) {
    Links& l = ring_[line];
    if (hand_ == line) hand_ = l.next == line ? kNoLine : l.next;
    ring_[l.previous].next = l.next;
    ring_[l.next].previous = l.previous;
    l = {};
}

LineId ClockPolicy::pick(LineProbe& probe, uint32_t most) {
    for (uint32_t i = 0; i < most && hand_ != kNoLine; i++) {
        LineId line = hand_;
        hand_ = ring_[line].next;
        if (probe.candidate(line) && !probe.test_and_clear_accessed(line)) return line;
    }
    return kNoLine;
}

} // namespace tessera::pmon
