#include "tests/sim/disk.hpp"

#include <algorithm>
#include <set>

#include "base/assert.hpp"

namespace tessera::sim {

SimDisk::SimDisk(World& world, std::string_view name, uint64_t blocks)
    : world_(world), dice_(world.seed, std::string("disk ") + std::string(name)), blocks_(blocks) {}

Result<void> SimDisk::submit(env::BlockRequest& request) {
    if (pending_.size() + done_.size() >= queue_depth()) return Fail(Error::Full);
    uint64_t n = request.buffer.size() / env::kBlockSize;
    Pending p{next_id_++, std::move(request), {}, 0, {}};
    env::BlockRequest& r = p.request;
    Nanos latency = microseconds(static_cast<int64_t>(dice_.between(8, 30)));
    if (r.op != env::BlockOp::Flush && (r.block > blocks_ || n > blocks_ - r.block)) {
        p.how = Fail(Error::Range);
    } else if (r.op == env::BlockOp::Flush) {
        latency = microseconds(static_cast<int64_t>(dice_.between(100, 900)));
        p.covers = next_write_;
        // Only what has completed by now is covered; see finish().
        for (auto& [key, w] : cache_)
            if (w.completed) p.writes.push_back(key);
        flushes++;
    } else if (r.op == env::BlockOp::Write) {
        latency += microseconds(static_cast<int64_t>(n));
        for (uint64_t i = 0; i < n; i++) {
            Bytes data = Bytes(r.buffer).subspan(i * env::kBlockSize, env::kBlockSize);
            uint64_t key = next_write_++;
            cache_[key] = {r.block + i,
                           std::make_shared<const std::vector<std::byte>>(data.begin(), data.end()),
                           nullptr, false};
            p.writes.push_back(key);
        }
        writes++;
    } else {
        reads++;
    }
    world_.note("disk", static_cast<uint64_t>(r.op), r.block, n);
    uint64_t id = p.id;
    pending_.emplace(id, std::move(p));
    world_.after(latency, [this, id, life = life_] { finish(id, life); });
    return {};
}

void SimDisk::finish(uint64_t id, uint64_t life) {
    if (life != life_) return;
    auto node = pending_.extract(id);
    Pending& p = node.mapped();
    env::BlockRequest& r = p.request;
    if (p.how) {
        switch (r.op) {
            case env::BlockOp::Read:
                if (dice_.per_mille(read_errors)) {
                    p.how = Fail(Error::Io);
                    break;
                }
                for (uint64_t i = 0; i * env::kBlockSize < r.buffer.size(); i++) {
                    auto at = now_.find(r.block + i);
                    std::byte* to = r.buffer.data() + i * env::kBlockSize;
                    if (at == now_.end())
                        std::fill_n(to, env::kBlockSize, std::byte{0});
                    else
                        std::copy_n(at->second->begin(), env::kBlockSize, to);
                }
                break;
            case env::BlockOp::Write:
                if (dice_.per_mille(write_errors)) p.how = Fail(Error::Io);
                for (uint64_t key : p.writes) {
                    Write& w = cache_.at(key);
                    if (!p.how && dice_.per_mille(500)) { // failed before it got there
                        cache_.erase(key);
                        continue;
                    }
                    now_[w.block] = w.data;
                    w.completed = true;
                    if (r.fua) {
                        durable_[w.block] = w.data;
                        std::erase_if(cache_, [block = w.block, key](auto& older) {
                            return older.second.block == block && older.first <= key;
                        });
                    }
                }
                break;
            case env::BlockOp::Flush:
                for (uint64_t key : p.writes)
                    if (auto w = cache_.extract(key)) durable_[w.mapped().block] = w.mapped().data;
                break;
        }
    }
    done_.push_back(std::move(p));
    if (owner_) world_.wake(*owner_);
}

bool SimDisk::poll() {
    bool any = !done_.empty();
    for (Pending& p : std::exchange(done_, {})) {
        auto done = std::move(p.request.done);
        done(p.how);
    }
    return any;
}

// Part of what was on its way got there.
void SimDisk::tear(const Write& w) {
    uint64_t luck = dice_.below(10);
    if (luck < 4) return;
    if (luck < 8) {
        durable_[w.block] = w.data;
        return;
    }
    auto torn = std::make_shared<std::vector<std::byte>>(env::kBlockSize);
    if (auto old = durable_.find(w.block); old != durable_.end()) *torn = *old->second;
    for (size_t sector = 0; sector < env::kBlockSize / 512; sector++)
        if (dice_.per_mille(500))
            std::copy_n(w.data->begin() + static_cast<ptrdiff_t>(sector * 512), 512,
                        torn->begin() + static_cast<ptrdiff_t>(sector * 512));
    durable_[w.block] = torn;
}

void SimDisk::reset(bool power_cut) {
    world_.note("reset", power_cut, cache_.size());
    life_++;
    for (auto& [key, w] : cache_) {
        if (w.completed && !power_cut)
            durable_[w.block] = w.data;
        else
            tear(w);
    }
    cache_.clear();
    now_ = durable_;
    // The requests' completions belong to the boot that is gone: never called.
    static auto* forgotten = new std::vector<Pending>;
    for (auto& [id, p] : pending_)
        forgotten->push_back(std::move(p));
    pending_.clear();
    for (Pending& p : done_)
        forgotten->push_back(std::move(p));
    done_.clear();
}

} // namespace tessera::sim
