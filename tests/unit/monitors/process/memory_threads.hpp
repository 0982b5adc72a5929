// The memory world behind a Shard that real threads enter, with a thread that drives the network.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <thread>

#include "monitors/env/shard.hpp"
#include "monitors/process/memory/address_space_impl.hpp"
#include "tests/unit/monitors/support/memory_world.hpp"

namespace tessera::test {

class TestShard final : public env::Shard {
  public:
    Result<void> post(Job job) override {
        std::unique_lock lock(mutex_);
        inbox_.push_back(std::move(job));
        if (running_) return {};
        running_ = true;
        while (!inbox_.empty()) {
            Job next = std::move(inbox_.front());
            inbox_.pop_front();
            lock.unlock();
            next();
            next.reset();
            lock.lock();
        }
        running_ = false;
        return {};
    }

  private:
    std::mutex mutex_;
    std::deque<Job> inbox_;
    bool running_ = false;
};

class MemoryThreads {
  public:
    explicit MemoryThreads(const WorldOptions& o = {})
        : world(o), context{shard, *world.cache, world.p.frames, mappers} {
        pump_ = std::thread([this] {
            while (!stop_) {
                (void)shard.post([this] {
                    if (!paused) world.run_for(microseconds(200));
                });
                std::this_thread::sleep_for(std::chrono::microseconds(50));
            }
        });
    }
    ~MemoryThreads() {
        stop_ = true;
        pump_.join();
    }

    Ref<posix::AddressSpace> space() {
        auto s = pmon::RemoteAddressSpace::create(context, kVnode);
        EXPECT_TRUE(s);
        return *s;
    }
    // Waits until everything that was started has reached the owner.
    bool settled(std::function<bool()> done) {
        for (int i = 0; i < 20000; i++) {
            if (pmon_in_shard(done)) return true;
            std::this_thread::sleep_for(std::chrono::microseconds(500));
        }
        return false;
    }
    bool pmon_in_shard(std::function<bool()>& f) {
        bool result = false;
        std::atomic<bool> ran{false};
        (void)shard.post([&] {
            result = f();
            ran = true;
        });
        while (!ran)
            std::this_thread::yield();
        return result;
    }

    MemoryWorld world;
    TestShard shard;
    FakeMappers mappers;
    pmon::MemoryContext context;
    std::atomic<bool> paused{false};

  private:
    std::atomic<bool> stop_{false};
    std::thread pump_;
};

} // namespace tessera::test
