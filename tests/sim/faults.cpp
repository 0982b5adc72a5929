#include "tests/sim/faults.hpp"

#include <algorithm>
#include <charconv>
#include <tuple>

namespace tessera::sim {

namespace {

using Kind = Fault::Kind;

constexpr struct {
    Kind kind;
    const char* name;
    bool pair, amount;
} kKinds[] = {
    {Kind::Crash, "crash", false, false},   {Kind::Power, "power", false, false},
    {Kind::Pause, "pause", false, false},   {Kind::Stop, "stop", false, false},
    {Kind::Forget, "forget", false, false}, {Kind::Cut, "cut", true, false},
    {Kind::Loss, "loss", true, true},       {Kind::Duplicate, "dup", true, true},
    {Kind::Reorder, "reorder", true, true}, {Kind::Corrupt, "corrupt", true, true},
    {Kind::Delay, "delay", true, true},     {Kind::DiskError, "diskerror", false, true},
};

std::string_view cut_off(std::string_view& text, char at) { // what is before `at`; text: after it
    size_t n = text.find(at);
    std::string_view head = text.substr(0, n);
    text = n == std::string_view::npos ? std::string_view{} : text.substr(n + 1);
    return head;
}

template <typename T>
bool number(std::string_view text, T& into) {
    auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), into);
    return wrong == std::errc{} && end == text.data() + text.size();
}

} // namespace

std::string describe(const FaultList& list) {
    if (list.empty()) return "none";
    std::string out;
    for (const Fault& f : list) {
        const auto& k = kKinds[static_cast<size_t>(f.kind)];
        if (!out.empty()) out += ',';
        out += k.name;
        out += ':' + f.a;
        if (!f.b.empty()) out += (f.one_way ? '>' : '-') + f.b;
        if (k.amount) out += ':' + std::to_string(f.amount);
        out += '@' + std::to_string(f.at_ms) + '+' + std::to_string(f.for_ms);
    }
    return out;
}

Result<FaultList> parse_faults(std::string_view text) {
    FaultList list;
    if (text == "none") return list;
    while (!text.empty()) {
        std::string_view one = cut_off(text, ',');
        std::string_view what = cut_off(one, '@');
        std::string_view name = cut_off(what, ':'), target = cut_off(what, ':');
        std::string_view at = cut_off(one, '+');
        Fault f;
        const auto* k = std::find_if(std::begin(kKinds), std::end(kKinds),
                                     [&](auto& each) { return name == each.name; });
        if (k == std::end(kKinds) || !number(at, f.at_ms) || !number(one, f.for_ms))
            return Fail(Error::Malformed);
        if (k->amount && !number(what, f.amount)) return Fail(Error::Malformed);
        f.kind = k->kind;
        size_t other = k->pair ? target.find_first_of(">-") : std::string_view::npos;
        if (other != std::string_view::npos) {
            f.one_way = target[other] == '>';
            f.b = target.substr(other + 1);
        }
        f.a = target.substr(0, other);
        if (f.a.empty()) return Fail(Error::Malformed);
        list.push_back(f);
    }
    return list;
}

FaultList draw_faults(uint64_t seed, const Targets& t, int64_t end_ms) {
    Dice dice(seed, "faults");
    FaultList list;
    std::vector<std::string> all = t.components;
    all.insert(all.end(), t.managers.begin(), t.managers.end());
    auto any = [&](const std::vector<std::string>& of) { return of[dice.below(of.size())]; };
    auto add = [&](Kind kind, std::string a, std::string b, unsigned amount, int64_t longest) {
        Fault f;
        f.kind = kind, f.a = std::move(a), f.b = std::move(b), f.amount = amount;
        f.one_way = kind == Kind::Cut && dice.per_mille(400);
        f.at_ms = static_cast<int64_t>(dice.below(static_cast<uint64_t>(end_ms * 3 / 4)));
        f.for_ms = std::min(static_cast<int64_t>(dice.between(5, static_cast<uint64_t>(longest))),
                            end_ms - f.at_ms);
        list.push_back(f);
    };
    // The weather: for all of the time on all links, or for a while on some.
    for (Kind k : {Kind::Loss, Kind::Duplicate, Kind::Reorder, Kind::Corrupt}) {
        uint64_t how = dice.below(10);
        auto amount = static_cast<unsigned>(dice.between(1, k == Kind::Corrupt ? 15 : 60));
        if (how < 3)
            list.push_back({k, "*", "", false, amount, 0, end_ms});
        else if (how < 5)
            add(k, any(all), any(t.components), amount * 4, end_ms / 2);
    }
    if (dice.per_mille(300))
        add(Kind::Delay, any(all), "*", static_cast<unsigned>(dice.between(50, 4000)), end_ms / 2);
    // Which kinds of blows this seed deals.
    auto some = [&](unsigned chance, unsigned most, auto&& deal) {
        if (!dice.per_mille(chance)) return;
        for (uint64_t n = dice.between(1, most); n > 0; n--)
            deal();
    };
    some(350, 3, [&] { add(Kind::Cut, any(all), any(all), 0, 1500); });
    some(150, 1, [&] { add(Kind::Cut, any(all), "*", 0, 7000); });
    some(350, 2, [&] { add(Kind::Crash, any(t.components), "", 0, 3000); });
    some(300, 3, [&] { add(Kind::Crash, any(t.managers), "", 0, 3000); });
    some(100, 1, [&] { add(Kind::Forget, any(t.managers), "", 0, 3000); });
    some(300, 2, [&] { add(Kind::Pause, any(t.components), "", 0, 1500); });
    some(120, 1, [&] { add(Kind::Pause, any(t.components), "", 0, 9000); });
    some(150, 2, [&] { add(Kind::Stop, any(t.managers), "", 0, 4000); });
    some(300, 2, [&] { add(Kind::Power, any(t.storage), "", 0, 2500); });
    some(60, 1, [&] {
        add(Kind::DiskError, any(t.storage), "", static_cast<unsigned>(dice.between(1, 20)), 1000);
    });
    std::erase_if(list, [](const Fault& f) { return f.a == f.b; });
    std::sort(list.begin(), list.end(), [](const Fault& x, const Fault& y) {
        return std::tie(x.at_ms, x.kind, x.a, x.b, x.for_ms) <
               std::tie(y.at_ms, y.kind, y.a, y.b, y.for_ms);
    });
    return list;
}

} // namespace tessera::sim
