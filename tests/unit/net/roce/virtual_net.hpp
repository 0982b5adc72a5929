// A switch with faults under virtual time: as many ports as a test wants, one clock, one seed.
//
// Frames travel for `delay`; each is lost, doubled, held back behind later ones or damaged with the
// given probabilities. Holds are released only when the frame has arrived, as a device that reads
// late would, and the body is read at that moment: whoever reuses memory too early is found out.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "base/clock.hpp"
#include "net/link/link.hpp"
#include "net/roce/soft_port.hpp"
#include "net/wire/inet.hpp"

namespace tessera::test {

using FrameBytes = std::vector<std::byte>;

class VirtualClock final : public Clock {
  public:
    Nanos now() override { return now_; }
    void set(Nanos t) {
        if (t > now_) now_ = t;
    }

  private:
    Nanos now_ = seconds(1);
};

class SeededRandom final : public Random {
  public:
    explicit SeededRandom(uint64_t seed) : state_(seed) {}
    uint64_t next() override { // splitmix64
        uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }

  private:
    uint64_t state_;
};

struct Faults {
    unsigned loss = 0; // per mille, each
    unsigned duplicate = 0;
    unsigned reorder = 0;
    unsigned corrupt = 0;
};

class VirtualNet {
  public:
    explicit VirtualNet(uint64_t seed) : random_(seed) {}

    class Port final : public net::Link {
      public:
        Port(VirtualNet& net, uint8_t index, uint32_t max_frame)
            : net_(net), mac_{2, 0, 0, 0, 0, index}, max_frame_(max_frame) {}
        Result<void> send(const net::TxFrame& f) override {
            if (f.size() > max_frame_) return Fail(Error::TooBig);
            if (net_.queued(*this) >= net_.queue_limit) return Fail(Error::Full);
            net_.accept(*this, f);
            return {};
        }
        void flush() override { flushes++; }
        unsigned poll(net::LinkSink& sink, unsigned budget) override {
            unsigned n = 0;
            for (; n < budget && !inbox.empty(); n++) {
                FrameBytes f = std::move(inbox.front());
                inbox.pop_front();
                sink.on_frame(f);
            }
            return n;
        }
        net::MacAddress mac() const override { return mac_; }
        uint32_t max_frame() const override { return max_frame_; }

        std::deque<FrameBytes> inbox;
        unsigned flushes = 0;
        bool cut = false; // cable pulled: nothing in or out

      private:
        VirtualNet& net_;
        net::MacAddress mac_;
        uint32_t max_frame_;
    };

    Port& add_port(uint32_t max_frame) {
        ports_.push_back(
            std::make_unique<Port>(*this, static_cast<uint8_t>(ports_.size() + 1), max_frame));
        return *ports_.back();
    }

    // Runs everything until `done` or until virtual time has advanced by `limit`.
    bool run(std::function<bool()> done, Nanos limit = seconds(30)) {
        Nanos end = clock.now() + limit;
        while (true) {
            for (roce::SoftPort* p : roce_ports)
                p->poll();
            if (done()) return true;
            Nanos next = end;
            if (!wire_.empty()) next = std::min(next, wire_.begin()->first);
            for (roce::SoftPort* p : roce_ports)
                next = std::min(next, p->next_deadline());
            if (next >= end && clock.now() >= end) return false;
            clock.set(std::min(std::max(next, clock.now() + Nanos{1}), end));
            deliver();
        }
    }
    void run_for(Nanos time) {
        run([] { return false; }, time);
    }

    // For a test with a loop of its own: the clock moves to `t`, or to the next arrival before it.
    void advance_to(Nanos t) {
        if (!wire_.empty()) t = std::max(std::min(t, wire_.begin()->first), clock.now());
        clock.set(t);
        deliver();
    }

    void inject(Port& to, FrameBytes f) { to.inbox.push_back(std::move(f)); }
    std::function<bool(const FrameBytes&)> filter; // false: lose this frame
    std::vector<FrameBytes>* recording = nullptr;

    VirtualClock clock;
    Faults faults;
    Nanos delay = microseconds(50);
    size_t queue_limit = 10000;
    std::vector<roce::SoftPort*> roce_ports;
    uint64_t lost = 0;

  private:
    struct InFlight {
        Port* from;
        FrameBytes head, tail, copied;
        Bytes body;
        net::TxHold* hold;
    };
    size_t queued(Port& p) {
        size_t n = 0;
        for (auto& [t, f] : wire_)
            n += f.from == &p;
        return n;
    }
    void accept(Port& from, const net::TxFrame& f) {
        InFlight i{&from, copy(f.head), copy(f.tail), {}, f.body, f.hold};
        if (!f.hold) {
            i.copied = copy(f.body);
            i.body = i.copied;
        }
        Nanos at = std::max(clock.now() + delay, last_arrival_ + Nanos{1}); // order of sending
        last_arrival_ = at;
        if (chance(faults.reorder)) at += delay * static_cast<int64_t>(1 + random_.next() % 4);
        auto where = wire_.emplace(at, std::move(i));
        if (!f.hold) where->second.body = where->second.copied;
    }
    static FrameBytes copy(Bytes b) { return {b.begin(), b.end()}; }
    bool chance(unsigned per_mille) { return per_mille && random_.next() % 1000 < per_mille; }

    void deliver() {
        while (!wire_.empty() && wire_.begin()->first <= clock.now()) {
            InFlight f = std::move(wire_.begin()->second);
            wire_.erase(wire_.begin());
            FrameBytes whole = f.head;
            Bytes body = f.hold ? f.body : Bytes(f.copied);
            whole.insert(whole.end(), body.begin(), body.end());
            whole.insert(whole.end(), f.tail.begin(), f.tail.end());
            if (f.hold) f.hold->transmitted();
            if (recording) recording->push_back(whole);
            if (f.from->cut || chance(faults.loss) || (filter && !filter(whole))) {
                lost++;
                continue;
            }
            if (chance(faults.corrupt)) whole[random_.next() % whole.size()] ^= std::byte{0x40};
            unsigned copies = chance(faults.duplicate) ? 2 : 1;
            for (auto& p : ports_) {
                bool to_all = whole.size() > 6 && (whole[0] & std::byte{1}) != std::byte{0};
                net::MacAddress mac = p->mac();
                bool to_it = whole.size() > 6 && std::memcmp(whole.data(), mac.data(), 6) == 0;
                if (p.get() == f.from || p->cut || (!to_all && !to_it)) continue;
                for (unsigned c = 0; c < copies; c++)
                    p->inbox.push_back(whole);
            }
        }
    }

    std::vector<std::unique_ptr<Port>> ports_;
    std::multimap<Nanos, InFlight> wire_;
    SeededRandom random_;
    Nanos last_arrival_ = {};
};

} // namespace tessera::test
