#include "tools/fabric/impairment.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace tessera::fabric {
namespace {

constexpr size_t kEthernetHeader = 14;

// "12.5" scaled: value * scale, exact in integers; the rest of the text is left in `text`.
Result<uint64_t> take_number(std::string_view& text, uint64_t scale) {
    uint64_t whole = 0, part = 0, divisor = 1;
    size_t i = 0, digits = 0;
    for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; i++, digits++) {
        if (whole > 1'000'000'000'000ull) return Fail(Error::Range);
        whole = whole * 10 + static_cast<uint64_t>(text[i] - '0');
    }
    if (i < text.size() && text[i] == '.') {
        for (i++; i < text.size() && text[i] >= '0' && text[i] <= '9'; i++, digits++) {
            if (divisor >= 1'000'000'000ull) continue;
            part = part * 10 + static_cast<uint64_t>(text[i] - '0');
            divisor *= 10;
        }
    }
    if (digits == 0) return Fail(Error::InvalidArgument);
    text.remove_prefix(i);
    unsigned __int128 v = static_cast<unsigned __int128>(whole) * scale +
                          static_cast<unsigned __int128>(part) * scale / divisor;
    if (v > static_cast<unsigned __int128>(INT64_MAX)) return Fail(Error::Range);
    return static_cast<uint64_t>(v);
}

struct Unit {
    std::string_view name;
    uint64_t scale;
};

// Number followed by one of the units.
template <size_t N>
Result<uint64_t> parse_scaled(std::string_view text, const Unit (&units)[N]) {
    std::string_view rest = text;
    TRY(take_number(rest, 1));
    for (const Unit& u : units) {
        if (rest != u.name) continue;
        std::string_view again = text;
        return take_number(again, u.scale);
    }
    return Fail(Error::InvalidArgument);
}

Result<uint32_t> parse_probability(std::string_view text) {
    static constexpr Unit units[] = {{"%", 10'000}, {"ppm", 1}};
    if (text == "0") return 0u;
    uint64_t ppm = TRY(parse_scaled(text, units));
    if (ppm > 1'000'000) return Fail(Error::Range);
    return static_cast<uint32_t>(ppm);
}

Result<Nanos> parse_time(std::string_view text) {
    static constexpr Unit units[] = {
        {"s", 1'000'000'000}, {"ms", 1'000'000}, {"us", 1'000}, {"ns", 1}};
    if (text == "0") return Nanos{0};
    uint64_t ns = TRY(parse_scaled(text, units));
    if (ns > 60'000'000'000ull) return Fail(Error::Range); // a minute is no longer a network
    return Nanos{static_cast<int64_t>(ns)};
}

Result<uint64_t> parse_rate(std::string_view text) {
    static constexpr Unit units[] = {
        {"bit", 1}, {"kbit", 1'000}, {"mbit", 1'000'000}, {"gbit", 1'000'000'000}};
    if (text == "0") return 0ull;
    uint64_t bits = TRY(parse_scaled(text, units));
    if (bits < 8'000) return Fail(Error::Range); // a jumbo frame would take minutes
    return bits;
}

void append_probability(std::string& out, const char* name, uint32_t ppm) {
    if (ppm == 0) return;
    char b[64];
    if (ppm % 10'000 == 0)
        std::snprintf(b, sizeof b, " %s=%u%%", name, ppm / 10'000);
    else
        std::snprintf(b, sizeof b, " %s=%uppm", name, ppm);
    out += b;
}

void append_time(std::string& out, const char* name, Nanos t) {
    char b[64];
    std::snprintf(b, sizeof b, " %s=%lldus", name, static_cast<long long>(t.value / 1000));
    out += b;
}

} // namespace

Result<void> assign(Impairment& impairment, std::string_view assignment) {
    size_t equals = assignment.find('=');
    if (equals == std::string_view::npos) return Fail(Error::InvalidArgument);
    std::string_view name = assignment.substr(0, equals), value = assignment.substr(equals + 1);
    if (name == "loss")
        impairment.loss = TRY(parse_probability(value));
    else if (name == "dup")
        impairment.duplicate = TRY(parse_probability(value));
    else if (name == "reorder")
        impairment.reorder = TRY(parse_probability(value));
    else if (name == "corrupt")
        impairment.corrupt = TRY(parse_probability(value));
    else if (name == "delay")
        impairment.delay = TRY(parse_time(value));
    else if (name == "jitter")
        impairment.jitter = TRY(parse_time(value));
    else if (name == "reorder-by")
        impairment.reorder_by = TRY(parse_time(value));
    else if (name == "rate")
        impairment.rate = TRY(parse_rate(value));
    else
        return Fail(Error::InvalidArgument);
    return {};
}

std::string to_text(const Impairment& i) {
    if (i.none()) return "none";
    std::string out;
    append_probability(out, "loss", i.loss);
    append_probability(out, "dup", i.duplicate);
    append_probability(out, "reorder", i.reorder);
    append_probability(out, "corrupt", i.corrupt);
    if (i.delay.value) append_time(out, "delay", i.delay);
    if (i.jitter.value) append_time(out, "jitter", i.jitter);
    if (i.reorder) append_time(out, "reorder-by", i.reorder_by);
    if (i.rate) out += " rate=" + std::to_string(i.rate) + "bit";
    return out.substr(1);
}

uint64_t Dice::next() {
    state_ += 0x9e3779b97f4a7c15ull;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void Pipe::hold(std::vector<std::byte> frame, Nanos due) {
    if (held_bytes_ + frame.size() > kMaxHeldBytes) {
        counters_.overflowed++;
        return;
    }
    held_bytes_ += frame.size();
    held_.push(Held{due, order_++, std::move(frame)});
}

void Pipe::push(Bytes frame, Nanos now, PipeSink& sink) {
    const Impairment& i = impairment_;
    if (i.none() && held_.empty()) return sink.on_pipe_output(tag_, frame);
    if (dice_.chance(i.loss)) {
        counters_.lost++;
        return;
    }
    unsigned copies = 1;
    if (dice_.chance(i.duplicate)) {
        counters_.duplicated++;
        copies = 2;
    }
    for (unsigned c = 0; c < copies; c++) {
        std::vector<std::byte> copy(frame.begin(), frame.end());
        if (copy.size() > kEthernetHeader && dice_.chance(i.corrupt)) {
            counters_.corrupted++;
            for (uint64_t flips = 1 + dice_.below(3); flips > 0; flips--) {
                size_t at = kEthernetHeader + dice_.below(copy.size() - kEthernetHeader);
                copy[at] ^= std::byte{1} << dice_.below(8);
            }
        }
        Nanos due = now + i.delay;
        if (i.jitter.value > 0)
            due +=
                Nanos{static_cast<int64_t>(dice_.below(static_cast<uint64_t>(i.jitter.value) + 1))};
        if (i.rate > 0) {
            Nanos start = std::max(now, line_free_);
            line_free_ =
                start + Nanos{static_cast<int64_t>(copy.size() * 8'000'000'000ull / i.rate)};
            due += line_free_ - now;
        }
        due = std::max(due, last_due_);
        last_due_ = due;
        if (dice_.chance(i.reorder)) {
            counters_.reordered++;
            due += i.reorder_by;
        }
        hold(std::move(copy), due);
    }
    release(now, sink);
}

void Pipe::release(Nanos now, PipeSink& sink) {
    while (!held_.empty() && held_.top().due <= now) {
        // top() is const only to protect the order, which pop() is about to end.
        given_.push_back(std::move(const_cast<Held&>(held_.top()).frame));
        held_.pop();
        held_bytes_ -= given_.back().size();
        sink.on_pipe_output(tag_, given_.back());
    }
}

} // namespace tessera::fabric
