// Numbers and structures of the Linux x86-64 ABI that POSIX objects speak. One place; own names, so
// that no libc's headers are needed. Sources: the Linux man-pages and the System V psABI.
#pragma once

#include <cstdint>

namespace tessera::posix {

// open(2) flags.
inline constexpr uint32_t kOpenRead = 0, kOpenWrite = 1, kOpenReadWrite = 2, kOpenAccessMask = 3;
inline constexpr uint32_t kOpenCreate = 0100, kOpenExclusive = 0200, kOpenNoTty = 0400,
                          kOpenTruncate = 01000, kOpenAppend = 02000, kOpenNonBlock = 04000,
                          kOpenDsync = 010000, kOpenDirect = 040000, kOpenLargeFile = 0100000,
                          kOpenDirectory = 0200000, kOpenNoFollow = 0400000,
                          kOpenNoAtime = 01000000, kOpenCloseOnExec = 02000000,
                          kOpenSync = 04010000, kOpenPath = 010000000, kOpenTmpFile = 020200000;

// Mode bits.
inline constexpr uint32_t kModeTypeMask = 0170000, kModeSocket = 0140000, kModeLink = 0120000,
                          kModeRegular = 0100000, kModeBlock = 0060000, kModeDirectory = 0040000,
                          kModeChar = 0020000, kModeFifo = 0010000;

// *at(2).
inline constexpr int kAtCwd = -100;
inline constexpr uint32_t kAtSymlinkNoFollow = 0x100, kAtRemoveDirectory = 0x200,
                          kAtEaccess = 0x200, kAtSymlinkFollow = 0x400, kAtEmptyPath = 0x1000;

inline constexpr int kSeekSet = 0, kSeekCurrent = 1, kSeekEnd = 2;

// access(2).
inline constexpr uint32_t kAccessExecute = 1, kAccessWrite = 2, kAccessRead = 4;

// poll(2).
inline constexpr uint16_t kPollIn = 1, kPollPriority = 2, kPollOut = 4, kPollError = 8,
                          kPollHangup = 16, kPollInvalid = 32, kPollReadNormal = 64,
                          kPollWriteNormal = 256;

// Signals.
inline constexpr int kSigHup = 1, kSigInt = 2, kSigQuit = 3, kSigIll = 4, kSigTrap = 5,
                     kSigAbort = 6, kSigBus = 7, kSigFpe = 8, kSigKill = 9, kSigUsr1 = 10,
                     kSigSegv = 11, kSigUsr2 = 12, kSigPipe = 13, kSigAlarm = 14, kSigTerm = 15,
                     kSigStkFlt = 16, kSigChild = 17, kSigCont = 18, kSigStop = 19, kSigTstp = 20,
                     kSigTtin = 21, kSigTtou = 22, kSigUrg = 23, kSigXcpu = 24, kSigXfsz = 25,
                     kSigVtAlarm = 26, kSigProf = 27, kSigWinch = 28, kSigIo = 29, kSigPwr = 30,
                     kSigSys = 31;
inline constexpr int kFirstRealtimeSignal = 32, kSignalCount = 64;

// sigaction flags.
inline constexpr uint64_t kSaNoChildStop = 1, kSaNoChildWait = 2, kSaSigInfo = 4,
                          kSaRestorer = 0x04000000, kSaOnStack = 0x08000000,
                          kSaRestart = 0x10000000, kSaNoDefer = 0x40000000,
                          kSaResetHand = 0x80000000;
inline constexpr uint64_t kHandlerDefault = 0, kHandlerIgnore = 1;

// siginfo codes.
inline constexpr int kSiUser = 0, kSiKernel = 0x80, kSiQueue = -1, kSiTimer = -2, kSiTkill = -6;
inline constexpr int kCldExited = 1, kCldKilled = 2, kCldDumped = 3, kCldTrapped = 4,
                     kCldStopped = 5, kCldContinued = 6;
inline constexpr int kSegvMapErr = 1, kSegvAccErr = 2, kBusAdrErr = 2, kFpeIntDiv = 1,
                     kIllIllOpn = 2, kTrapBrkpt = 1, kBusAdrAln = 1;

// wait4(2).
inline constexpr int kWaitNoHang = 1, kWaitUntraced = 2, kWaitContinued = 8;

// Resource limits.
inline constexpr unsigned kLimitCpu = 0, kLimitFileSize = 1, kLimitData = 2, kLimitStack = 3,
                          kLimitCore = 4, kLimitProcesses = 6, kLimitFiles = 7,
                          kLimitAddressSpace = 9, kLimitCount = 16;
inline constexpr uint64_t kNoLimit = ~0ull;

constexpr uint64_t make_device(uint32_t major, uint32_t minor) {
    return (static_cast<uint64_t>(major & 0xfffff000u) << 32) | ((major & 0xfffu) << 8) |
           (minor & 0xffu) | (static_cast<uint64_t>(minor & 0xffffff00u) << 12);
}
constexpr uint32_t device_major(uint64_t d) {
    return static_cast<uint32_t>(((d >> 8) & 0xfff) | ((d >> 32) & 0xfffff000u));
}
constexpr uint32_t device_minor(uint64_t d) {
    return static_cast<uint32_t>((d & 0xff) | ((d >> 12) & 0xffffff00u));
}

} // namespace tessera::posix
