// Signals: what is pending, what is blocked, what a process does about each. Data and pure rules
// only; sending is Vnode's and Process's, delivery on the user stack is signal/frame.hpp. Guarded
// by Vnode::mutex().
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "monitors/process/posix/abi.hpp"
#include "monitors/process/posix/object/archive.hpp"

namespace tessera::posix {

using SignalSet = uint64_t; // bit n-1 = signal n
constexpr SignalSet signal_bit(int signal) {
    return 1ull << (signal - 1);
}
inline constexpr SignalSet kUnblockable = signal_bit(kSigKill) | signal_bit(kSigStop);
inline constexpr SignalSet kStopSignals =
    signal_bit(kSigStop) | signal_bit(kSigTstp) | signal_bit(kSigTtin) | signal_bit(kSigTtou);
inline constexpr SignalSet kFaultSignals = signal_bit(kSigSegv) | signal_bit(kSigBus) |
                                           signal_bit(kSigFpe) | signal_bit(kSigIll) |
                                           signal_bit(kSigTrap) | signal_bit(kSigSys);

struct SignalInfo {
    int number = 0;
    int code = kSiUser;
    uint32_t pid = 0; // sender, or the child
    uint32_t uid = 0;
    int status = 0;       // SIGCHLD
    uint64_t address = 0; // faults
    uint64_t value = 0;   // sigqueue
};

struct SignalAction {
    uint64_t handler = kHandlerDefault;
    uint64_t flags = 0;
    uint64_t restorer = 0;
    SignalSet mask = 0;
};

enum class DefaultAction : uint8_t { Terminate, Ignore, Stop, Continue };
DefaultAction default_action(int signal);

class PendingSignals {
  public:
    static constexpr size_t kMostQueued = 256;

    SignalSet set() const { return set_; }
    bool has(int signal) const { return set_ & signal_bit(signal); }
    // A standard signal is pending once; real-time ones queue. Again: the queue is full.
    bool add(const SignalInfo& info);
    // The next of those in `allowed`: faults first, then the lowest number. number 0: none.
    SignalInfo take(SignalSet allowed);
    void discard(SignalSet which);
    void record(Archive& a);

  private:
    SignalSet set_ = 0;
    std::vector<SignalInfo> queue_;
};

struct AlternateStack {
    uint64_t base = 0;
    uint64_t size = 0;
    uint32_t flags = 2; // SS_DISABLE
};

} // namespace tessera::posix
