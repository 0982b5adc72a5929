// struct termios and friends of Linux x86-64 (asm-generic/termbits.h), and the ioctl numbers.
#pragma once

#include <cstdint>

namespace tessera::posix {

struct Termios {
    uint32_t input = 0, output = 0, control = 0, local = 0;
    uint8_t line = 0;
    uint8_t characters[19] = {};
};
static_assert(sizeof(Termios) == 36);

struct WindowSize {
    uint16_t rows = 0, columns = 0, x_pixels = 0, y_pixels = 0;
};
static_assert(sizeof(WindowSize) == 8);

// Indices into characters.
inline constexpr unsigned kVintr = 0, kVquit = 1, kVerase = 2, kVkill = 3, kVeof = 4, kVtime = 5,
                          kVmin = 6, kVstart = 8, kVstop = 9, kVsusp = 10, kVeol = 11,
                          kVreprint = 12, kVwerase = 14, kVlnext = 15, kVeol2 = 16;
// input
inline constexpr uint32_t kIstrip = 040, kInlcr = 0100, kIgncr = 0200, kIcrnl = 0400,
                          kIuclc = 01000, kIxon = 02000, kImaxbel = 020000, kIutf8 = 040000;
// output
inline constexpr uint32_t kOpost = 1, kOnlcr = 4, kOcrnl = 010, kOnocr = 020, kOnlret = 040;
// local
inline constexpr uint32_t kIsig = 1, kIcanon = 2, kEcho = 010, kEchoe = 020, kEchok = 040,
                          kEchonl = 0100, kNoflsh = 0200, kTostop = 0400, kEchoctl = 01000,
                          kEchoke = 04000, kIexten = 0100000;

inline constexpr uint32_t kTcgets = 0x5401, kTcsets = 0x5402, kTcsetsw = 0x5403, kTcsetsf = 0x5404,
                          kTcsbrk = 0x5409, kTcxonc = 0x540a, kTcflsh = 0x540b, kTiocexcl = 0x540c,
                          kTiocnxcl = 0x540d, kTiocsctty = 0x540e, kTiocgpgrp = 0x540f,
                          kTiocspgrp = 0x5410, kTiocoutq = 0x5411, kTiocsti = 0x5412,
                          kTiocgwinsz = 0x5413, kTiocswinsz = 0x5414, kFionread = 0x541b,
                          kFionbio = 0x5421, kTiocnotty = 0x5422, kTiocgsid = 0x5429,
                          kFionclex = 0x5450, kFioclex = 0x5451;

Termios default_termios();

} // namespace tessera::posix
