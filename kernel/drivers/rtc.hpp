// The CMOS real-time clock (MC146818 registers behind ports 0x70 and 0x71): the wall clock at
// start, in UTC.
//
// Read once at boot; cluster time takes over from there (protocols.md section 7). What it says is
// checked: BCD digits, ranges, and a year from 2020 to 2199.
#pragma once

#include "kernel/drivers/platform.hpp"

namespace tessera::kernel {

// Seconds since 1970-01-01. Error: Timeout (the chip keeps saying that it is being updated),
// Malformed.
Result<int64_t> read_rtc(PortIo& ports);

// Registers as read, before decoding; for tests and for read_rtc.
struct RtcReading {
    uint8_t second = 0, minute = 0, hour = 0, day = 0, month = 0, year = 0, century = 0;
    uint8_t format = 0; // status register B: bit 1 is 24 hours, bit 2 is binary

    bool operator==(const RtcReading&) const = default;
};
Result<int64_t> decode_rtc(const RtcReading& reading);

} // namespace tessera::kernel
