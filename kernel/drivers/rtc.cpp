#include "kernel/drivers/rtc.hpp"

namespace tessera::kernel {

namespace {

constexpr uint16_t kIndexPort = 0x70, kDataPort = 0x71;
constexpr uint8_t kStatusA = 0x0a, kStatusB = 0x0b, kCentury = 0x32;
constexpr uint8_t kUpdating = 0x80, kBinary = 1 << 2, k24Hours = 1 << 1, kAfternoon = 0x80;

uint8_t cmos(PortIo& ports, uint8_t index) {
    ports.out8(kIndexPort, index);
    return ports.in8(kDataPort);
}

RtcReading take(PortIo& ports) {
    RtcReading r;
    r.second = cmos(ports, 0x00);
    r.minute = cmos(ports, 0x02);
    r.hour = cmos(ports, 0x04);
    r.day = cmos(ports, 0x07);
    r.month = cmos(ports, 0x08);
    r.year = cmos(ports, 0x09);
    r.century = cmos(ports, kCentury);
    r.format = cmos(ports, kStatusB);
    return r;
}

Result<unsigned> number(uint8_t v, bool binary) {
    if (binary) return v;
    if ((v & 0xf) > 9 || v >> 4 > 9) return Fail(Error::Malformed);
    return (v >> 4) * 10u + (v & 0xf);
}

// Days from 1970-01-01 to a civil date, counting years from March so that a leap day comes last.
int64_t days_since_1970(int64_t year, unsigned month, unsigned day) {
    if (month <= 2) year--;
    int64_t era = year / 400;
    int64_t year_of_era = year - era * 400;
    int64_t shifted_month = (month + 9) % 12;
    int64_t day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

unsigned days_in(unsigned month, unsigned year) {
    static constexpr uint8_t kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return kDays[month - 1] + (month == 2 && leap);
}

} // namespace

Result<int64_t> decode_rtc(const RtcReading& r) {
    bool binary = r.format & kBinary;
    bool all_day = r.format & k24Hours;
    unsigned second = TRY(number(r.second, binary));
    unsigned minute = TRY(number(r.minute, binary));
    bool afternoon = !all_day && (r.hour & kAfternoon);
    unsigned hour = TRY(number(all_day ? r.hour : r.hour & 0x7f, binary));
    unsigned day = TRY(number(r.day, binary));
    unsigned month = TRY(number(r.month, binary));
    unsigned year = TRY(number(r.year, binary));
    // Without a century register (it reads 0 or nonsense) we are in this one.
    auto century = number(r.century, binary);
    bool has_century = century && *century >= 20 && *century <= 21;
    year += 100 * (has_century ? *century : 20);

    if (!all_day) {
        if (hour < 1 || hour > 12) return Fail(Error::Malformed);
        hour = hour % 12 + (afternoon ? 12 : 0);
    }
    if (second > 59 || minute > 59 || hour > 23 || month < 1 || month > 12 || year < 2020 ||
        year > 2199)
        return Fail(Error::Malformed);
    if (day < 1 || day > days_in(month, year)) return Fail(Error::Malformed);
    return ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
}

Result<int64_t> read_rtc(PortIo& ports) {
    // An update takes 2 ms at most and a port access some 85 ns: this is many updates long.
    constexpr unsigned kTries = 200'000;
    for (unsigned tries = 0; tries < kTries; tries++) {
        if (cmos(ports, kStatusA) & kUpdating) continue;
        RtcReading first = take(ports);
        // Two equal readings: no update came between the registers of one.
        if (!(cmos(ports, kStatusA) & kUpdating) && take(ports) == first) return decode_rtc(first);
    }
    return Fail(Error::Timeout);
}

} // namespace tessera::kernel
