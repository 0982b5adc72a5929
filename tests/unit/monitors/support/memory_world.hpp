// A process monitor's cache and a memory monitor, each with a real SoftPort and a real rpc::Node,
// on a switch with faults, under virtual time.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/hosted.hpp"
#include "base/log.hpp"
#include "monitors/memory/core/memory_monitor.hpp"
#include "monitors/process/core/excache.hpp"
#include "tests/unit/net/roce/virtual_net.hpp"

namespace tessera::test {

inline constexpr VnodeId kVnode{7};
inline constexpr NodeId kProcessNode{3};
inline constexpr NodeId kMemoryNode{4};

// Frames like a machine's: what is freed can still be read by a device that is late (the packet is
// then damaged, as its ICRC shows), and does not keep its contents.
class MachineFrames final : public env::FramePool {
  public:
    explicit MachineFrames(uint64_t total) : memory_(total * kPageSize), shares_(total) {
        for (uint64_t i = total; i > 0; i--)
            free_.push_back(i);
    }
    Result<env::FrameNo> allocate() override {
        if (free_.empty()) return Fail(Error::NoMemory);
        uint64_t f = free_.back();
        free_.pop_back();
        shares_[f - 1] = 1;
        return env::FrameNo(f);
    }
    void share(env::FrameNo f) override { count(f)++; }
    bool release(env::FrameNo f) override {
        if (--count(f)) return false;
        std::memset(bytes_at(f).data(), 0xdd, kPageSize);
        free_.push_back(f.value);
        return true;
    }
    uint32_t shares(env::FrameNo f) const override { return shares_.at(f.value - 1); }
    MutableBytes bytes(env::FrameNo f) override {
        count(f);
        return bytes_at(f);
    }
    env::FrameCounts counts() const override { return {shares_.size(), free_.size()}; }

  private:
    uint32_t& count(env::FrameNo f) {
        uint32_t& n = shares_.at(f.value - 1);
        ASSERT(n > 0);
        return n;
    }
    MutableBytes bytes_at(env::FrameNo f) {
        return MutableBytes(memory_).subspan((f.value - 1) * kPageSize, kPageSize);
    }
    std::vector<std::byte> memory_;
    std::vector<uint32_t> shares_;
    std::vector<uint64_t> free_;
};

// A page table that remembers what it was told.
class FakeMapper final : public env::PageMapper {
  public:
    struct Entry {
        env::FrameNo frame;
        env::PageRights rights;
        bool accessed = false;
    };
    Result<void> map(uint64_t page, env::FrameNo f, env::PageRights rights) override {
        table[page] = {f, rights, false};
        return {};
    }
    void unmap(uint64_t page) override { table.erase(page); }
    void remove_write(uint64_t page) override { table.at(page).rights.write = false; }
    bool test_and_clear_accessed(uint64_t page) override {
        return std::exchange(table.at(page).accessed, false);
    }
    void activate() override {}
    void leave() override {}

    std::map<uint64_t, Entry> table;
};

class FakeMappers final : public env::PageMapperFactory {
  public:
    Result<Own<env::PageMapper>> create() override {
        return Own<env::PageMapper>(std::make_unique<FakeMapper>());
    }
};

// A file home: files are byte strings.
class FakeFiles final : public mmon::PageProvider {
  public:
    explicit FakeFiles(env::FramePool& frames) : frames(frames) {}
    void get_page(VnodeId, FileId f, Generation g, PageNo page, GotPage done) override {
        gets++;
        auto it = files.find(f.value);
        if (it == files.end() || g != Generation(1)) return done(Fail(Error::Stale));
        const std::string& text = it->second;
        if (page.value * kPageSize >= text.size())
            return done(mmon::FilePage{mmon::FilePage::Kind::End, {}});
        auto frame = frames.allocate();
        if (!frame) return done(Fail(frame.error()));
        std::string part = text.substr(page.value * kPageSize, kPageSize);
        part.resize(kPageSize);
        std::memcpy(frames.bytes(*frame).data(), part.data(), kPageSize);
        done(mmon::FilePage{mmon::FilePage::Kind::Present, *frame});
    }
    void put_page(VnodeId, FileId f, Generation, PageNo page, Bytes data, Stored done) override {
        std::string& text = files[f.value];
        size_t at = page.value * kPageSize;
        if (at < text.size())
            text.replace(at, std::min(kPageSize, text.size() - at), text_of(data), 0,
                         std::min(kPageSize, text.size() - at));
        puts++;
        done({});
    }
    uint64_t reclaim(uint64_t) override { return 0; }

    env::FramePool& frames;
    std::map<uint64_t, std::string> files;
    int gets = 0;
    int puts = 0;
};

struct Component {
    Component(VirtualNet& net, uint32_t ip, rpc::Identity self, uint64_t frames, uint64_t seed)
        : net(net), link(net.add_port(9014)), random(seed), frames(frames) {
        roce::SoftPortOptions o{.address = roce::Ipv4(ip)};
        port = std::make_unique<roce::SoftPort>(link, net.clock, random, o);
        rpc::NodeOptions n;
        n.key = {};
        n.self = self;
        node = std::move(*rpc::Node::create(*port, net.clock, random, n));
        EXPECT_TRUE(node->listen());
    }
    VirtualNet& net;
    VirtualNet::Port& link;
    SeededRandom random;
    MachineFrames frames;
    std::unique_ptr<roce::SoftPort> port;
    Own<rpc::Node> node;
};

struct WorldOptions {
    uint64_t seed = 1;
    uint32_t lines = 32;
    uint64_t memory_frames = 4096;
    uint64_t quota = 3000;
    uint8_t vregion_shift = 21;
};

class MemoryWorld {
  public:
    explicit MemoryWorld(const WorldOptions& o)
        : net(o.seed),
          m(net, 0x0a000002, {rpc::NodeKind::Memory, kMemoryNode, Incarnation(9)}, o.memory_frames,
            o.seed + 1),
          p(net, 0x0a000001, {rpc::NodeKind::Process, kProcessNode, Incarnation(5)}, o.lines + 64,
            o.seed + 2),
          files(m.frames) {
        if (getenv("TEST_LOG")) log_to_stderr("test");
        mmon::MemoryMonitorOptions mo;
        mo.vregion_shift = o.vregion_shift;
        monitor = std::move(*mmon::MemoryMonitor::create(*m.port, *m.node, m.frames, net.clock,
                                                         m.random, &files, mo));
        monitor->set_quota(kVnode, o.quota);
        pmon::ExCacheOptions po;
        po.node = kProcessNode;
        po.incarnation = Incarnation(5);
        po.lines = o.lines;
        po.most_lines = 4096;
        cache = std::move(*pmon::ExCache::create(*p.port, p.frames, net.clock, po));
        peer = *p.node->peer(roce::Ipv4(0x0a000002));
        client = &cache->add_owner(kVnode, *peer, roce::Ipv4(0x0a000002));
    }
    ~MemoryWorld() {
        if (cache->has_owner(kVnode)) cache->remove_vnode(kVnode);
        run_for(seconds(20)); // answers still under way
        cache.reset();
        monitor.reset();
        if (second) second->monitor.reset();
        if (second) second->m.node.reset();
        m.node.reset();
        p.node.reset();
    }

    // A second mComponent, 10.0.0.3, that is an owner too.
    struct Second {
        explicit Second(MemoryWorld& w)
            : m(w.net, 0x0a000003, {rpc::NodeKind::Memory, NodeId(77), Incarnation(19)}, 4096, 91),
              files(m.frames) {
            monitor = std::move(*mmon::MemoryMonitor::create(*m.port, *m.node, m.frames,
                                                             w.net.clock, m.random, &files, {}));
            monitor->set_quota(kVnode, 1000);
        }
        Component m;
        FakeFiles files;
        Own<mmon::MemoryMonitor> monitor;
    };
    Second& add_second() {
        second.emplace(*this);
        cache->add_owner(kVnode, **p.node->peer(roce::Ipv4(0x0a000003)), roce::Ipv4(0x0a000003));
        return *second;
    }

    void step() {
        for (Component* c : {&m, &p, second ? &second->m : nullptr}) {
            if (!c) continue;
            c->port->poll();
            c->node->poll();
        }
        monitor->poll();
        if (second) second->monitor->poll();
        cache->poll();
        if (each_step) each_step();
    }
    bool run(std::function<bool()> done, Nanos limit = seconds(60)) {
        Nanos end = net.clock.now() + limit;
        for (;;) {
            for (int quiet = 0; quiet < 2; quiet++) {
                step();
                if (done()) return true;
            }
            if (net.clock.now() >= end) return false;
            Nanos next = std::min({end, m.port->next_deadline(), p.port->next_deadline(),
                                   m.node->next_deadline(), p.node->next_deadline(),
                                   cache->next_deadline(), monitor->next_deadline()});
            if (second)
                next =
                    std::min({next, second->m.port->next_deadline(),
                              second->m.node->next_deadline(), second->monitor->next_deadline()});
            net.advance_to(std::max(next, net.clock.now() + Nanos{1}));
        }
    }
    void run_for(Nanos t) {
        run([] { return false; }, t);
    }

    pmon::Space* new_space() {
        FakeMappers f;
        auto mapper = *f.create();
        auto s = cache->create_space(kVnode, mapper);
        EXPECT_TRUE(s);
        return *s;
    }
    pmon::Space* fork(pmon::Space& parent) {
        FakeMappers f;
        auto mapper = *f.create();
        auto s = cache->fork_space(parent, mapper);
        EXPECT_TRUE(s);
        return *s;
    }
    static FakeMapper& table(pmon::Space& s) { return static_cast<FakeMapper&>(*s.mapper); }

    // What a program's access does: use the translation, or fault until there is one.
    Result<std::byte*> touch(pmon::Space& s, uint64_t address, bool write,
                             std::function<void(pmon::PageRequest&)> mapping = {}) {
        uint64_t page = align_down(address, kPageSize);
        for (int i = 0; i < 100; i++) {
            auto it = table(s).table.find(page);
            if (it != table(s).table.end() && (!write || it->second.rights.write)) {
                it->second.accessed = true;
                return p.frames.bytes(it->second.frame).data() + (address - page);
            }
            pmon::PageRequest r;
            r.write = write;
            r.rights = {true, true, false};
            r.space = &s;
            r.page = page >> kPageShift;
            if (mapping) mapping(r);
            r.generation = s.generation.load();
            bool answered = false;
            Result<void> how;
            r.done = [&](Result<void> result) {
                how = result;
                answered = true;
            };
            cache->request(r);
            if (!answered && !run([&] { return answered; })) {
                cache->cancel(r);
                return Fail(Error::Timeout);
            }
            if (!how) return Fail(how.error());
        }
        return Fail(Error::Busy);
    }
    Result<void> put(pmon::Space& s, uint64_t address, uint64_t value) {
        std::byte* at = TRY(touch(s, address, true));
        std::memcpy(at, &value, sizeof value);
        return {};
    }
    Result<uint64_t> get(pmon::Space& s, uint64_t address) {
        std::byte* at = TRY(touch(s, address, false));
        uint64_t value;
        std::memcpy(&value, at, sizeof value);
        return value;
    }

    VirtualNet net;
    Component m;
    Component p;
    FakeFiles files;
    Own<mmon::MemoryMonitor> monitor;
    Own<pmon::ExCache> cache;
    rpc::Peer* peer = nullptr;
    std::optional<Second> second;
    pmon::PageClient* client = nullptr;
    std::function<void()> each_step;
};

} // namespace tessera::test
