#include "tests/sim/pages.hpp"

#include <algorithm>

namespace tessera::sim {

namespace {

constexpr Nanos kPatience = seconds(45); // the cache gives up after 30

using ull = unsigned long long;

uint64_t sector_word(uint64_t value, unsigned sector) {
    return value ? value * 8 + sector : 0;
}

void fill(MutableBytes page, uint64_t value) {
    for (unsigned s = 0; s < 8; s++) {
        uint64_t w = sector_word(value, s);
        std::memcpy(page.data() + s * 512 + s * 8, &w, sizeof w);
    }
}

bool matches(Bytes page, uint64_t value) {
    for (unsigned s = 0; s < 8; s++)
        if (load<uint64_t>(page.subspan(s * 512 + s * 8)) != sector_word(value, s)) return false;
    return true;
}

} // namespace

uint64_t& PageLoad::Program::expected(uint64_t page) {
    bool high = page >= 0x7ffff000;
    return model[high][page - (high ? 0x7ffff000 : 0x10)];
}

PageLoad::PageLoad(ProcessBoot& p, VnodeId vnode, PageStats& stats)
    : p_(p),
      world_(p.world),
      vnode_(vnode),
      stats_(stats),
      dice_(world_.seed, p.host.name + "/" + std::to_string(p.host.boots) + "/pages/" +
                             std::to_string(vnode.value)) {}

PageLoad::~PageLoad() = default;

uint64_t PageLoad::troubles(roce::Ipv4 owner) const {
    Host* h = p_.host.settings->host(owner);
    return p_.host.troubles + (h ? h->troubles : 0);
}

PageLoad::Program& PageLoad::adopt(pmon::Space& space) {
    auto p = std::make_unique<Program>();
    p->id = next_program_++;
    p->space = &space;
    p->owner = space.object->client->owner();
    p->troubles = troubles(p->owner);
    for (Thread& t : p->threads) {
        t.program = p.get();
        t.wake_at = now() + microseconds(static_cast<int64_t>(dice_.below(200)));
    }
    programs_.push_back(std::move(p));
    return *programs_.back();
}

void PageLoad::start_program() {
    Own<env::PageMapper> mapper = std::make_unique<SimMapper>();
    auto space = p_.cache->create_space(vnode_, mapper);
    world_.note("space", p_.host.station, vnode_.value, space.has_value());
    start_at_ = now() + (space ? milliseconds(5) : milliseconds(20));
    if (space) adopt(**space);
}

void PageLoad::poll() {
    if (!stopping_ && programs_.size() < 2 && now() >= start_at_) start_program();
    for (size_t i = 0; i < programs_.size();) {
        Program& p = *programs_[i];
        if (stopping_) end(p);
        if (p.ending) {
            if (try_end(p))
                programs_.erase(programs_.begin() + static_cast<ptrdiff_t>(i));
            else
                i++;
            continue;
        }
        for (Thread& t : p.threads) {
            if (t.pinned != pmon::kNoLine && now() >= t.pinned_until) unpin(t);
            if (!t.waiting && now() >= t.wake_at && !p.ending) run(t);
            if (t.waiting && now() - t.began > kPatience)
                world_.fail("%s: a request for page %llx of program %llu is unanswered for %lld s",
                            p_.host.name.c_str(), static_cast<ull>(t.page), static_cast<ull>(p.id),
                            static_cast<long long>((now() - t.began).value / 1'000'000'000));
        }
        i++;
    }
}

Nanos PageLoad::next_deadline() {
    Nanos next = !stopping_ && programs_.size() < 2 ? start_at_ : kNever;
    for (auto& p : programs_) {
        if (p->ending || stopping_) next = std::min(next, now() + milliseconds(1));
        for (Thread& t : p->threads) {
            next = std::min(next, t.waiting ? t.began + kPatience + seconds(1) : t.wake_at);
            if (t.pinned != pmon::kNoLine) next = std::min(next, t.pinned_until);
        }
    }
    return next;
}

void PageLoad::run(Thread& t) {
    for (; t.burst > 0; t.burst--) {
        Program& p = *t.program;
        if (p.ending || world_.failed()) return;
        if (!t.busy) choose(t);
        if (p.ending) return;
        if (t.busy && !access(t)) return;
    }
    t.burst = static_cast<unsigned>(dice_.between(1, 12));
    t.wake_at =
        now() + microseconds(static_cast<int64_t>(
                    dice_.per_mille(300) ? dice_.between(20, 600) : dice_.between(5000, 50'000)));
}

void PageLoad::choose(Thread& t) {
    Program& p = *t.program;
    uint64_t what = dice_.below(1000);
    if (what < 940) {
        t.busy = true;
        t.tries = 0;
        t.page = any_page();
        t.write = what < 450;
        t.began = now();
    } else if (what < 960) {
        rearrange(p, false);
    } else if (what < 975) {
        rearrange(p, true);
    } else if (what < 985) {
        fork(p);
    } else if (what < 990 && programs_.size() > 1) {
        stats_.exits++;
        end(p);
    } else if (t.pinned == pmon::kNoLine) {
        t.busy = true;
        t.tries = 0;
        t.page = any_page();
        t.write = true;
        t.began = now();
        t.pinned_until = Nanos{-1}; // wanted
    }
}

// An access as hardware and trap handler do it.
bool PageLoad::access(Thread& t) {
    Program& p = *t.program;
    if (t.pinned_until != Nanos{-1}) {
        auto it = p.table().table.find(t.page * kPage);
        if (it != p.table().table.end() && (!t.write || it->second.rights.write)) {
            it->second.accessed = true;
            return touch(t, it->second.frame);
        }
    }
    if (++t.tries > 1000) {
        world_.fail("%s: page %llx of program %llu is never there for its faulter",
                    p_.host.name.c_str(), static_cast<ull>(t.page), static_cast<ull>(p.id));
        return false;
    }
    stats_.faults++;
    pmon::PageRequest& r = t.request;
    r.mode = t.pinned_until == Nanos{-1} ? pmon::PageRequest::Mode::WritePin
                                         : pmon::PageRequest::Mode::Map;
    r.write = t.write;
    r.rights = {true, true, false};
    r.space = p.space;
    r.page = t.page;
    r.generation = p.space->generation.load();
    r.done = [this, &t](Result<void> how) { answered(t, how); };
    t.waiting = true;
    t.wake_at = kNever;
    p_.cache->request(r);
    return false;
}

void PageLoad::answered(Thread& t, Result<void> how) {
    Program& p = *t.program;
    t.waiting = false;
    world_.note("answered", p.id, t.page, how ? 0 : static_cast<uint64_t>(how.error()));
    // The thread is woken, and runs a moment later.
    t.wake_at = now() + Nanos{static_cast<int64_t>(dice_.below(3000))};
    world_.wake(p_.host);
    bool pin = t.pinned_until == Nanos{-1};
    if (how) {
        if (!pin) return;
        t.pinned = t.request.line;
        t.pinned_until = now() + microseconds(static_cast<int64_t>(dice_.below(2000)));
        stats_.pins++;
        touch(t, t.request.frame);
        return;
    }
    if (how.error() == Error::Again || p.ending) return;
    if (pin) t.pinned_until = {};
    t.busy = false;
    bool of_owner =
        how.error() == Error::Lost || how.error() == Error::Dead || how.error() == Error::Timeout;
    if (!of_owner || troubles(p.owner) == p.troubles)
        return world_.fail("%s: page %llx of program %llu: %s, and no fault explains it",
                           p_.host.name.c_str(), static_cast<ull>(t.page), static_cast<ull>(p.id),
                           describe(how.error()).data());
    stats_.lost++;
    end(p);
}

bool PageLoad::touch(Thread& t, env::FrameNo f) {
    Program& p = *t.program;
    t.busy = false;
    operations_++;
    stats_.operations++;
    MutableBytes page = p_.frames.bytes(f);
    uint64_t& expected = p.expected(t.page);
    world_.note(t.write ? "write" : "read", p.id, t.page, expected);
    if (!matches(page, expected)) {
        uint64_t found = load<uint64_t>(page);
        world_.fail("%s: page %llx of program %llu (vNode %u) holds %llx, not %llx%s",
                    p_.host.name.c_str(), static_cast<ull>(t.page), static_cast<ull>(p.id),
                    vnode_.value, static_cast<ull>(found / 8), static_cast<ull>(expected),
                    matches(page, found / 8) ? "" : " (parts of different pages)");
        return true;
    }
    if (t.write) {
        expected = static_cast<uint64_t>(p_.host.station) << 48 |
                   static_cast<uint64_t>(vnode_.value & 0xff) << 40 | next_value_++;
        fill(page, expected);
    }
    return true;
}

void PageLoad::unpin(Thread& t) {
    p_.cache->unpin(t.pinned, pmon::PageRequest::Mode::WritePin, *t.program->space);
    t.pinned = pmon::kNoLine;
    t.pinned_until = {};
}

void PageLoad::fork(Program& p) {
    if (programs_.size() >= kMostPrograms || stopping_) return;
    Own<env::PageMapper> mapper = std::make_unique<SimMapper>();
    auto child = p_.cache->fork_space(*p.space, mapper);
    world_.note("fork", p.id, next_program_, child.has_value());
    if (!child) return;
    stats_.forks++;
    auto model = p.model;
    uint64_t troubles = p.troubles;
    Program& c = adopt(**child);
    c.model = model;
    c.troubles = troubles;
}

void PageLoad::rearrange(Program& p, bool move) {
    for (Thread& t : p.threads)
        if (t.pinned != pmon::kNoLine) return; // the kernel waits for pins before it unmaps
    uint64_t pages = dice_.between(1, 6);
    if (!move) {
        uint64_t first = any_page();
        p.space->generation++;
        Result<void> r = p_.cache->discard(*p.space, first, pages);
        world_.note("discard", p.id, first, r.has_value());
        if (!r) return;
        stats_.discards++;
        for (uint64_t i = 0; i < pages; i++) {
            uint64_t end = first >= 0x7ffff000 ? 0x7ffff000 + kPages : 0x10 + kPages;
            if (first + i < end) p.expected(first + i) = 0;
        }
        return;
    }
    auto base = [&] { return dice_.below(2) ? uint64_t{0x7ffff000} : uint64_t{0x10}; };
    uint64_t from = base() + dice_.below(kPages / 2 - 6);
    uint64_t to = base() + kPages / 2 + dice_.below(kPages / 2 - 6);
    p.space->generation++;
    Result<void> r = p_.cache->move(*p.space, from, pages, to);
    world_.note("move", p.id, from, to);
    if (!r) return;
    stats_.moves++;
    for (uint64_t i = 0; i < pages; i++) {
        p.expected(to + i) = p.expected(from + i);
        p.expected(from + i) = 0;
    }
}

void PageLoad::end(Program& p) {
    if (p.ending) return;
    p.ending = true;
    world_.note("end", p.id);
}

bool PageLoad::try_end(Program& p) {
    for (Thread& t : p.threads) {
        if (t.waiting) p_.cache->cancel(t.request);
        if (t.pinned != pmon::kNoLine) unpin(t);
    }
    Result<void> r = p_.cache->destroy_space(*p.space);
    world_.note("destroy", p.id, r.has_value());
    return r.has_value();
}

} // namespace tessera::sim
