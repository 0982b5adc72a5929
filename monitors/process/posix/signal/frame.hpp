// The signal frame on the user stack: struct rt_sigframe of Linux x86-64 (asm/sigframe.h), with the
// 512-byte FXSAVE image. Own thread only; touches user memory, so no lock is held.
#pragma once

#include "monitors/process/posix/process/process.hpp"

namespace tessera::posix {

// Makes the registers enter the handler. BadAddress: the frame cannot be written.
Result<void> push_frame(Task& t, const SignalInfo& info, const SignalAction& action,
                        SignalSet blocked);
// rsp is behind the return address. Restores registers; says which signals to block.
Result<void> pop_frame(Task& t, SignalSet& blocked);

// siginfo_t as bytes.
std::array<std::byte, 128> encode_siginfo(const SignalInfo& info);

} // namespace tessera::posix
