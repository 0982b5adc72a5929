// Power cuts. A seeded workload runs and the disk remembers every write. Then the disk is rebuilt
// as a cut after each of many prefixes would have left it (later writes missing, reordered, torn
// between sectors), mounted and compared: it must be clean, data included, and its tree must be the
// one after some operation no earlier than the last sync that had been acknowledged.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/unit/monitors/storage/store_driver.hpp"

namespace tessera::storage::test {
namespace {

constexpr uint64_t kBlocks = 1300;

template <typename T>
void ignore(const Result<T>&) {} // a step of the workload may well be refused

struct History {
    // After operation i: what the tree looked like, and how many disk events there had been.
    std::vector<uint64_t> digests;
    std::vector<size_t> events;
    struct Ack {
        size_t events;    // when the sync completed
        size_t operation; // the last one it covers
    };
    std::vector<Ack> acks;
};

class Workload {
  public:
    Workload(StoreDriver& s, uint64_t seed) : s_(s), dice_{seed} { directories_.push_back(s.root); }

    void step() {
        ObjectRef d = directories_[dice_.below(directories_.size())];
        std::string name = "n" + std::to_string(dice_.below(6));
        switch (dice_.below(12)) {
            case 0:
            case 1: {
                auto r = s_.create(d, name);
                if (r && r->attributes.type == FileType::File) remember(r->attributes.object);
                break;
            }
            case 2: {
                auto r = s_.mkdir(d, name);
                if (r) directories_.push_back(r->object);
                break;
            }
            case 3:
                ignore(s_.unlink(d, name));
                break;
            case 4:
                ignore(s_.rmdir(d, name));
                break;
            case 5:
            case 6: {
                ObjectRef to = directories_[dice_.below(directories_.size())];
                std::string other = "n" + std::to_string(dice_.below(6));
                ignore(s_.rename(d, name, to, other, {.exchange = dice_.chance(20)}));
                break;
            }
            case 7:
                if (files_.empty()) break;
                ignore(s_.resize(file(), dice_.below(40000)));
                break;
            case 8:
                if (files_.empty()) break;
                ignore(s_.link(file(), d, name));
                break;
            default: {
                if (files_.empty()) break;
                std::string data(1 + dice_.below(20000), 'a');
                for (char& c : data)
                    c = static_cast<char>(dice_.next());
                ignore(s_.write(file(), dice_.below(50000), data));
            }
        }
    }

  private:
    ObjectRef file() { return files_[dice_.below(files_.size())]; }
    void remember(ObjectRef f) {
        files_.push_back(f);
        if (files_.size() > 12) files_.erase(files_.begin());
    }
    StoreDriver& s_;
    Lcg dice_;
    std::vector<ObjectRef> directories_, files_;
};

// Checks one cut; returns a description of what is wrong, or nothing.
std::string check_cut(const StoreDriver& ran, const History& h, size_t cut, uint64_t seed) {
    StoreDriver after(kBlocks, ran.disk.cut(cut, seed));
    after.disk.record = false;
    after.root = ran.root;
    Result<void> mounted = after.mount();
    if (!mounted) return "mount failed: " + std::string(describe(mounted.error()));
    CheckReport report = after.check();
    if (!report.clean()) return "check: " + report.problems[0];
    size_t least = 0;
    for (const History::Ack& a : h.acks)
        if (a.events <= cut) least = a.operation;
    uint64_t digest = after.digest();
    bool found = false;
    for (size_t i = least; i < h.digests.size() && !found; i++) {
        if (i > 0 && h.events[i - 1] > cut) break; // operation i had not begun
        found = h.digests[i] == digest;
    }
    if (!found) return "the tree is none that existed since the last sync\n" + after.tree();
    // It goes on working from there, and again survives an orderly restart.
    Result<CreateResult> made = after.create(after.root, "after-the-cut");
    if (!made) return "create failed afterwards";
    if (!after.write(made->attributes.object, 0, std::string(9000, 'z')))
        return "write failed afterwards";
    digest = after.digest();
    if (!after.remount()) return "second mount failed";
    if (after.digest() != digest) return "changed over an orderly restart";
    if (!after.check().clean()) return "check failed after the second mount";
    ignore(after.unmount());
    return {};
}

void run_and_cut(uint64_t seed, size_t operations, size_t cuts, bool checkpoints) {
    StoreDriver s(kBlocks);
    s.make({.log_blocks = 256});
    ASSERT_TRUE(s.sync());
    History h;
    h.digests.push_back(s.digest());
    h.events.push_back(s.disk.events().size());
    h.acks.push_back({s.disk.events().size(), 0});
    Workload work(s, seed);
    Lcg dice{seed * 77};
    for (size_t i = 1; i <= operations; i++) {
        work.step();
        h.digests.push_back(s.digest());
        h.events.push_back(s.disk.events().size());
        if (dice.chance(12)) {
            ASSERT_TRUE(s.sync());
            h.acks.push_back({s.disk.events().size(), i});
        }
        if (checkpoints && dice.chance(4)) {
            ASSERT_TRUE(s.checkpoint());
            h.acks.push_back({s.disk.events().size(), i});
        }
    }
    ASSERT_TRUE(s.check().clean());
    size_t first = h.acks[0].events, last = s.disk.events().size();
    for (size_t k = 0; k < cuts; k++) {
        size_t cut = first + (cuts >= last - first ? k : dice.below(last - first + 1));
        if (cut > last) break;
        uint64_t cut_seed = dice.next();
        std::string wrong = check_cut(s, h, cut, cut_seed);
        ASSERT_EQ(wrong, "") << "seed " << seed << ", cut after event " << cut << " of " << last
                             << ", cut seed " << cut_seed;
    }
    ignore(s.unmount());
}

// TESSERA_CRASH_SEEDS=n runs n more seeds (the soak).
TEST(Crash, EveryCutLeavesWhatWasSynced) {
    const char* more = std::getenv("TESSERA_CRASH_SEEDS");
    uint64_t seeds = 6 + (more ? std::strtoull(more, nullptr, 10) : 0);
    for (uint64_t seed = 1; seed <= seeds; seed++)
        run_and_cut(seed, 150, 60, seed % 2 == 0);
}

TEST(Crash, EveryPrefixOfAShortRun) {
    run_and_cut(1001, 30, 100000, false);
    run_and_cut(1002, 20, 100000, true);
}

// Cut, recover, go on, cut again: the tail that one recovery dropped must not come back in the
// next.
TEST(Crash, CutsInARow) {
    for (uint64_t seed = 1; seed <= 10; seed++) {
        Image image;
        ObjectRef root;
        for (int round = 0; round < 6; round++) {
            StoreDriver s(kBlocks, image);
            if (round == 0) {
                s.make({.log_blocks = 256});
                root = s.root;
                ASSERT_TRUE(s.sync());
            } else {
                s.root = root;
                ASSERT_TRUE(s.mount()) << "seed " << seed << " round " << round;
                CheckReport report = s.check();
                ASSERT_TRUE(report.clean())
                    << report.problems[0] << " seed " << seed << " round " << round;
            }
            // Each round syncs a marker; all earlier markers must be there.
            for (int r = 0; r < round; r++)
                ASSERT_TRUE(s.find("marker" + std::to_string(r)))
                    << "seed " << seed << " round " << round;
            Workload work(s, seed * 100 + static_cast<uint64_t>(round));
            for (int i = 0; i < 25; i++)
                work.step();
            ASSERT_TRUE(
                s.write(s.file(root, "marker" + std::to_string(round)), 0, std::string(5000, 'm')));
            ASSERT_TRUE(s.fsync(s.find("marker" + std::to_string(round))->object));
            size_t acked = s.disk.events().size();
            for (int i = 0; i < 25; i++)
                work.step();
            Lcg dice{seed * 31 + static_cast<uint64_t>(round)};
            size_t cut = acked + dice.below(s.disk.events().size() - acked + 1);
            image = s.disk.cut(cut, dice.next());
        }
    }
}

} // namespace
} // namespace tessera::storage::test
