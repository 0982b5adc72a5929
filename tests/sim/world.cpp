#include "tests/sim/world.hpp"

#include <stdarg.h>
#include <stdio.h>

#include <algorithm>

#include "base/bytes.hpp"

namespace tessera::sim {

void World::at(Nanos time, Event event) {
    uint32_t slot;
    if (free_slots_.empty()) {
        slot = static_cast<uint32_t>(slots_.size());
        slots_.push_back(std::move(event));
    } else {
        slot = free_slots_.back();
        free_slots_.pop_back();
        slots_[slot] = std::move(event);
    }
    heap_.push_back({std::max(time, now_), sequence_++, slot});
    std::push_heap(heap_.begin(), heap_.end());
}

void World::wake(Actor& a) {
    a.due_ = std::min(a.due_, std::max(now_, a.ran_ + kStep));
}

void World::run_until(Nanos end) {
    while (!failed()) {
        Actor* first = nullptr;
        for (Actor* a : actors_)
            if (!first || a->due_ < first->due_) first = a;
        Nanos event = heap_.empty() ? kNever : heap_.front().time;
        Nanos actor = first ? first->due_ : kNever;
        if (std::min(event, actor) > end) break;
        if (event <= actor) {
            now_ = event;
            std::pop_heap(heap_.begin(), heap_.end());
            uint32_t slot = heap_.back().slot;
            heap_.pop_back();
            Event e = std::move(slots_[slot]);
            free_slots_.push_back(slot);
            e();
        } else {
            now_ = actor;
            first->due_ = kNever;
            first->ran_ = now_;
            first->run();
            first->due_ = std::min(first->due_, std::max(first->next_deadline(), now_ + kStep));
        }
    }
    if (!failed()) now_ = std::max(now_, end);
}

void World::fail(const char* format, ...) {
    if (failed()) return;
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char when[40];
    snprintf(when, sizeof when, "%.6f s: ", static_cast<double>(now_.value) / 1e9);
    failure_ = std::string(when) + text;
}

void World::note(const char* what, uint64_t a, uint64_t b, uint64_t c) {
    auto mix = [&](uint64_t v) {
        hash_ = (hash_ ^ v) * 0x9e3779b97f4a7c15ull;
        hash_ ^= hash_ >> 29;
    };
    uint64_t name = 0;
    for (const char* p = what; *p; p++)
        name = name * 131 + static_cast<unsigned char>(*p);
    mix(name);
    mix(static_cast<uint64_t>(now_.value));
    mix(a), mix(b), mix(c);
    notes++;
    if (print)
        fprintf(stderr, "%12.6f %-10s %llx %llx %llx\n", static_cast<double>(now_.value) / 1e9,
                what, static_cast<unsigned long long>(a), static_cast<unsigned long long>(b),
                static_cast<unsigned long long>(c));
}

uint64_t digest(Bytes data) {
    uint64_t h = data.size() * 0x9e3779b97f4a7c15ull;
    size_t i = 0;
    for (; i + 8 <= data.size(); i += 8) {
        h = (h ^ load<uint64_t>(data.subspan(i))) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }
    for (; i < data.size(); i++)
        h = (h ^ static_cast<uint64_t>(data[i])) * 0x100000001b3ull;
    return h;
}

} // namespace tessera::sim
