#include "monitors/process/posix/signal/signal.hpp"

namespace tessera::posix {

DefaultAction default_action(int signal) {
    switch (signal) {
        case kSigChild:
        case kSigUrg:
        case kSigWinch:
            return DefaultAction::Ignore;
        case kSigCont:
            return DefaultAction::Continue;
        case kSigStop:
        case kSigTstp:
        case kSigTtin:
        case kSigTtou:
            return DefaultAction::Stop;
        default:
            return DefaultAction::Terminate;
    }
}

bool PendingSignals::add(const SignalInfo& info) {
    if (info.number < kFirstRealtimeSignal && has(info.number)) return true;
    if (queue_.size() >= kMostQueued) return false;
    set_ |= signal_bit(info.number);
    queue_.push_back(info);
    return true;
}

SignalInfo PendingSignals::take(SignalSet allowed) {
    SignalSet ready = set_ & allowed;
    if (!ready) return {};
    if (ready & kFaultSignals) ready &= kFaultSignals;
    int number = 1;
    while (!(ready & signal_bit(number)))
        number++;
    SignalInfo found;
    bool more = false;
    for (size_t i = 0; i < queue_.size(); i++) {
        if (queue_[i].number != number) continue;
        if (found.number == 0) {
            found = queue_[i];
            queue_.erase(queue_.begin() + static_cast<ptrdiff_t>(i--));
        } else {
            more = true;
        }
    }
    if (!more) set_ &= ~signal_bit(number);
    return found;
}

void PendingSignals::discard(SignalSet which) {
    set_ &= ~which;
    std::erase_if(queue_, [&](const SignalInfo& s) { return which & signal_bit(s.number); });
}

void PendingSignals::record(Archive& a) {
    a.list(queue_, kMostQueued, [&](SignalInfo& s) {
        a.number(s.number);
        a.number(s.code);
        a.number(s.pid);
        a.number(s.uid);
        a.number(s.status);
        a.number(s.address);
        a.number(s.value);
        if (a.loading() && (s.number < 1 || s.number > kSignalCount)) a.fail();
    });
    if (!a.loading()) return;
    set_ = 0;
    if (a.failed()) queue_.clear();
    for (const SignalInfo& s : queue_)
        set_ |= signal_bit(s.number);
}

} // namespace tessera::posix
