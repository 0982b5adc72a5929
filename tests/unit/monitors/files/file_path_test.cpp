// The whole way of a file operation without a network: RemoteFilesClient (process monitor) ->
// FileHome (memory monitor) and storage service -> Store on a disk in memory.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

#include "base/hosted.hpp"
#include "monitors/memory/files/file_home.hpp"
#include "monitors/process/files/remote_files.hpp"
#include "monitors/storage/core/store.hpp"
#include "monitors/storage/service/service.hpp"
#include "tests/unit/monitors/support/fake_cluster.hpp"
#include "tests/unit/monitors/support/heap_frames.hpp"

namespace tessera {
namespace {

class MemoryDisk final : public env::BlockDevice {
  public:
    explicit MemoryDisk(uint64_t blocks) : blocks_(blocks), bytes_(blocks * env::kBlockSize) {}
    Result<void> submit(env::BlockRequest& r) override {
        auto done = std::move(r.done);
        if (r.op != env::BlockOp::Flush) {
            size_t at = r.block * env::kBlockSize;
            if (at + r.buffer.size() > bytes_.size()) {
                done(std::unexpected(Error::Range));
                return {};
            }
            if (fail_writes && r.op == env::BlockOp::Write) {
                done(std::unexpected(Error::Io));
                return {};
            }
            if (late && r.op == env::BlockOp::Write) {
                std::memcpy(&bytes_[at], r.buffer.data(), r.buffer.size());
                waiting.push_back(std::move(done));
                return {};
            }
            if (r.op == env::BlockOp::Read)
                std::memcpy(r.buffer.data(), &bytes_[at], r.buffer.size());
            else
                std::memcpy(&bytes_[at], r.buffer.data(), r.buffer.size());
        }
        done({});
        return {};
    }
    uint64_t block_count() const override { return blocks_; }
    uint32_t max_transfer_blocks() const override { return 32; }
    uint32_t queue_depth() const override { return 64; }
    bool fail_writes = false;
    bool late = false; // writes complete when the test says so
    std::vector<decltype(env::BlockRequest::done)> waiting;

  private:
    uint64_t blocks_;
    std::vector<std::byte> bytes_;
};

class SettableClock final : public Clock {
  public:
    Nanos now() override { return now_; }
    Nanos now_ = seconds(1000);
};

class PumpedShard final : public env::Shard {
  public:
    explicit PumpedShard(rpc::FakeCluster& c) : cluster_(c) {}
    Result<void> post(Job job) override {
        job();
        cluster_.pump();
        return {};
    }

  private:
    rpc::FakeCluster& cluster_;
};

constexpr VnodeId kVnode{1};
constexpr roce::Ipv4 kP{1}, kM{2}, kS{3}, kM2{4};

class FilePath : public testing::Test {
  protected:
    FilePath() : disk_(4096), frames_(600), shard_(cluster_) {
        storage::Store::format(disk_, {}, [](Result<void> r) { ASSERT_TRUE(r); });
        boot_store();
        boot_home();
        auto& p = cluster_.add(kP, rpc::NodeKind::Process);
        caller_.emplace(shard_, p, clock_real_);
        files_.emplace(*caller_);
        storage::Attributes root;
        store_->create_root({}, kVnode, 0, 0755, [&](Result<storage::Attributes> r) {
            ASSERT_TRUE(r);
            root = *r;
        });
        files_->set_mount({kVnode, {root.object.id, root.object.generation}, kS, 1, {kM}});
        root_ = files_->root(kVnode);
    }
    ~FilePath() override {
        home_.reset();
        service_.reset();
    }

    void boot_store() {
        service_.reset();
        store_.reset();
        storage::Store::mount(disk_, clock_, {}, [&](Result<Own<storage::Store>> r) {
            ASSERT_TRUE(r);
            store_ = std::move(*r);
        });
        service_ =
            std::make_unique<smon::Service>(cluster_.add(kS, rpc::NodeKind::Storage), *store_);
    }
    void boot_home() {
        home_.reset();
        home_node_ = &cluster_.add(kM, rpc::NodeKind::Memory);
        mmon::FileHome::Options options;
        options.reserved_frames = 16;
        options.incarnation = home_node_->self.incarnation;
        home_ = std::make_unique<mmon::FileHome>(*home_node_, frames_, clock_, options);
    }
    posix::FileRef create(std::string_view name) {
        auto a = files_->create(kVnode, {}, root_, name, posix::FileType::Regular, 0644, 0, true);
        EXPECT_TRUE(a) << describe(a.error());
        return a ? a->file : posix::FileRef{};
    }
    size_t write(posix::FileRef f, uint64_t at, std::string_view text, bool append = false) {
        auto w = files_->write(kVnode, f, at, bytes_of(text), append);
        EXPECT_TRUE(w) << describe(w.error());
        return w ? w->length : 0;
    }
    std::string read(posix::FileRef f, uint64_t at = 0, size_t most = 1 << 20) {
        std::string out(most, 0);
        auto n = files_->read(kVnode, f, at, mutable_bytes(out));
        EXPECT_TRUE(n) << describe(n.error());
        out.resize(n ? *n : 0);
        return out;
    }
    static MutableBytes mutable_bytes(std::string& s) {
        return std::as_writable_bytes(std::span(s.data(), s.size()));
    }
    // Writes until there is an error or `most` bytes are written; returns how many.
    uint64_t fill(posix::FileRef f, uint64_t from = 0, uint64_t most = UINT64_MAX) {
        uint64_t at = from;
        std::string piece(32768, 0);
        while (at - from < most) {
            for (size_t i = 0; i < piece.size(); i++)
                piece[i] = static_cast<char>((at + i) / 509);
            auto w = files_->write(kVnode, f, at, bytes_of(std::string_view(piece)), false);
            if (!w) {
                EXPECT_EQ(w.error(), Error::NoSpace) << describe(w.error());
                break;
            }
            at += w->length;
            if (at % 65536 == 0) pass(milliseconds(10));
        }
        return at - from;
    }
    void expect_filled(posix::FileRef f, uint64_t bytes) {
        ASSERT_EQ(size_of(f), bytes);
        for (uint64_t at = 0; at < bytes; at += 32768) {
            std::string got = read(f, at, std::min<uint64_t>(32768, bytes - at));
            for (size_t i = 0; i < got.size(); i++)
                ASSERT_EQ(got[i], static_cast<char>((at + i) / 509)) << "at " << at + i;
        }
    }
    void pass(Nanos time) {
        clock_.now_ += time;
        home_->poll();
        cluster_.pump();
    }
    uint64_t free_bytes() { return files_->use(kVnode)->free_bytes; }
    uint64_t size_of(posix::FileRef f) { return files_->attributes(kVnode, f)->size; }

    SettableClock clock_;
    HostClock clock_real_;
    MemoryDisk disk_;
    env::HeapFrames frames_;
    rpc::FakeCluster cluster_;
    PumpedShard shard_;
    Own<storage::Store> store_;
    Own<smon::Service> service_;
    rpc::FakeNode* home_node_ = nullptr;
    Own<mmon::FileHome> home_;
    std::optional<pmon::BlockingCaller> caller_;
    std::optional<pmon::RemoteFilesClient> files_;
    posix::FileRef root_;
};

TEST_F(FilePath, ReadsBackWhatWasWritten) {
    posix::FileRef f = create("a");
    EXPECT_EQ(write(f, 0, "hello"), 5u);
    EXPECT_EQ(write(f, 5, " world"), 6u);
    EXPECT_EQ(read(f), "hello world");
    EXPECT_EQ(write(f, 0, "!", true), 1u);
    EXPECT_EQ(read(f, 6), "world!");
    EXPECT_EQ(size_of(f), 12u);
    EXPECT_EQ(read(f, 100), "");
}

TEST_F(FilePath, StatByNameSeesWhatOnlyTheHomeKnows) {
    posix::FileRef f = create("a");
    write(f, 0, std::string(10000, 'x'));
    auto w = files_->walk(kVnode, {}, root_, "a", true);
    ASSERT_TRUE(w);
    EXPECT_EQ(w->stop, posix::WalkResult::Stop::Done);
    EXPECT_EQ(w->attributes.size, 10000u);
    EXPECT_EQ(w->attributes.file, f);
}

TEST_F(FilePath, WritesOutAfterTheDelayAndSurvivesTheHome) {
    posix::FileRef f = create("a");
    write(f, 3, "late");
    clock_.now_ += seconds(6);
    home_->poll();
    cluster_.pump();
    EXPECT_EQ(home_->counters().dirty_pages, 0u);
    boot_home(); // the mComponent restarts and has forgotten everything
    EXPECT_EQ(read(f), std::string("\0\0\0late", 7));
    EXPECT_EQ(size_of(f), 7u);
}

TEST_F(FilePath, SyncIsDurableOverARestartOfTheStore) {
    posix::FileRef f = create("a");
    write(f, 0, std::string(100000, 'y'));
    ASSERT_TRUE(files_->sync(kVnode, f, false));
    boot_home();
    boot_store(); // as after a crash: nothing was unmounted
    EXPECT_EQ(read(f), std::string(100000, 'y'));
}

TEST_F(FilePath, TruncateCutsAndGrowsWithZeros) {
    posix::FileRef f = create("a");
    write(f, 0, std::string(9000, 'z'));
    posix::AttributeChange c;
    c.set_size = true;
    c.size = 5000;
    ASSERT_TRUE(files_->change(kVnode, {}, f, c));
    EXPECT_EQ(size_of(f), 5000u);
    c.size = 8000;
    ASSERT_TRUE(files_->change(kVnode, {}, f, c));
    EXPECT_EQ(read(f), std::string(5000, 'z') + std::string(3000, '\0'));
    ASSERT_TRUE(files_->sync(kVnode, f, false));
    boot_home();
    EXPECT_EQ(read(f), std::string(5000, 'z') + std::string(3000, '\0'));
}

TEST_F(FilePath, TimesSetByNameStayAfterTheWriteOut) {
    posix::FileRef f = create("a");
    write(f, 0, "data");
    posix::AttributeChange c;
    c.set_modified = true;
    c.modified_ns = 123'000'000'000;
    ASSERT_TRUE(files_->change(kVnode, {}, f, c));
    ASSERT_TRUE(files_->sync(kVnode, f, false));
    boot_home();
    EXPECT_EQ(files_->attributes(kVnode, f)->modified_ns, 123'000'000'000);
}

TEST_F(FilePath, ARemovedFileThatIsHeldStaysReadable) {
    posix::FileRef f = create("a");
    write(f, 0, "still here");
    ASSERT_TRUE(files_->hold(kVnode, f));
    ASSERT_TRUE(files_->unlink(kVnode, {}, root_, "a", false));
    EXPECT_EQ(read(f), "still here");
    ASSERT_TRUE(files_->sync(kVnode, f, false));
    boot_home();
    EXPECT_EQ(read(f), "still here");
    files_->release(kVnode, f);
    boot_home();
    std::string out(10, 0);
    EXPECT_EQ(files_->read(kVnode, f, 0, mutable_bytes(out)).error(), Error::Stale);
}

TEST_F(FilePath, AStoreThatIsAwayIsATimeoutAndLaterFine) {
    posix::FileRef f = create("a");
    write(f, 0, "text");
    ASSERT_TRUE(files_->sync(kVnode, f, false));
    boot_home();
    cluster_.cut_off(kS, true);
    std::string out(4, 0);
    EXPECT_EQ(files_->read(kVnode, f, 0, mutable_bytes(out)).error(), Error::Timeout);
    cluster_.cut_off(kS, false);
    EXPECT_EQ(read(f), "text");
}

TEST_F(FilePath, ANeverWrittenOutWriteIsReportedOnce) {
    posix::FileRef f = create("a");
    write(f, 0, "text");
    cluster_.cut_off(kS, true);
    EXPECT_FALSE(files_->sync(kVnode, f, false)); // the error of this write-out
    cluster_.cut_off(kS, false);
    EXPECT_TRUE(files_->sync(kVnode, f, false)); // tried again, and it worked
    boot_home();
    EXPECT_EQ(read(f), "text");
}

TEST_F(FilePath, DirectoriesListInPages) {
    for (int i = 0; i < 300; i++)
        create("file" + std::to_string(i));
    std::map<std::string, int> seen;
    uint64_t after = 0;
    for (;;) {
        auto entries = files_->read_directory(kVnode, {}, root_, after, 100);
        ASSERT_TRUE(entries);
        if (entries->empty()) break;
        for (auto& e : *entries)
            seen[e.name]++;
        after = entries->back().cookie;
    }
    EXPECT_EQ(seen.size(), 300u);
    for (auto& [name, n] : seen)
        EXPECT_EQ(n, 1) << name;
}

// A write that is answered has its blocks: the full disk is the error of the one after it.
TEST_F(FilePath, AFullDiskIsTheErrorOfAWriteAndNothingAcceptedIsLost) {
    uint64_t before = free_bytes();
    posix::FileRef f = create("big");
    uint64_t bytes = fill(f);
    EXPECT_GT(bytes, before - 300'000);
    EXPECT_LE(bytes, before);
    ASSERT_TRUE(files_->sync(kVnode, f, false));
    boot_home();
    expect_filled(f, bytes);
    std::string more(5000, 'x');
    EXPECT_EQ(files_->write(kVnode, f, bytes, bytes_of(std::string_view(more)), false).error(),
              Error::NoSpace);
}

TEST_F(FilePath, WhatTheStoreHasNoMoreRoomForIsNotAcceptedFromOthersEither) {
    posix::FileRef a = create("a"), b = create("b");
    uint64_t of_b = fill(b, 0, 800'000); // dirty, and stays so
    uint64_t of_a = fill(a);
    EXPECT_TRUE(files_->sync(kVnode, b, false));
    EXPECT_TRUE(files_->sync(kVnode, a, false));
    boot_home();
    expect_filled(b, of_b);
    expect_filled(a, of_a);
}

TEST_F(FilePath, RemovingAFileFreesItsSpaceAndItsDirtyPagesAtOnce) {
    uint64_t before = free_bytes();
    for (int round = 0; round < 3; round++) {
        posix::FileRef f = create("big");
        ASSERT_TRUE(files_->hold(kVnode, f));
        uint64_t bytes = fill(f);
        EXPECT_GT(bytes, before - 400'000) << "round " << round;
        posix::AttributeChange c;
        c.set_size = true;
        c.size = bytes - 500'000;
        ASSERT_TRUE(files_->change(kVnode, {}, f, c));
        fill(f, 0, 400'000);
        EXPECT_GT(home_->counters().dirty_pages, 90u);
        if (round == 1) files_->release(kVnode, f);
        ASSERT_TRUE(files_->unlink(kVnode, {}, root_, "big", false));
        if (round != 1) files_->release(kVnode, f);
        EXPECT_EQ(home_->counters().dirty_pages, 0u) << "round " << round;
        EXPECT_EQ(home_->counters().cached_pages, 0u);
    }
    pass(seconds(3));
    pass(seconds(3));
    EXPECT_GE(free_bytes() + 8192, before);
}

TEST_F(FilePath, RenamingOverAFileDropsItsDirtyPages) {
    posix::FileRef old = create("old");
    write(create("new"), 0, "new");
    fill(old, 0, 500'000);
    ASSERT_TRUE(files_->rename(kVnode, {}, root_, "new", root_, "old",
                               posix::RemoteFiles::RenameMode::Replace));
    EXPECT_EQ(home_->counters().dirty_pages, 1u);
}

TEST_F(FilePath, DirtyDataCountsAsUsed) {
    uint64_t before = free_bytes();
    posix::FileRef f = create("a");
    fill(f, 0, 1 << 20);
    EXPECT_LE(free_bytes(), before - (1 << 20));
    EXPECT_EQ(files_->attributes(kVnode, f)->blocks, (1u << 20) / 512);
    ASSERT_TRUE(files_->sync(kVnode, f, false));
    EXPECT_EQ(files_->attributes(kVnode, f)->blocks, (1u << 20) / 512);
    pass(seconds(3));
    pass(seconds(3));
    EXPECT_EQ(free_bytes(), before - (1 << 20));
}

TEST_F(FilePath, ARestartedStoreIsToldAgainWhatIsSetAside) {
    posix::FileRef a = create("a"), b = create("b");
    uint64_t of_a = fill(a, 0, 900'000);
    ASSERT_TRUE(files_->sync_all(kVnode)); // the names must survive
    of_a += fill(a, of_a, 500'000);
    boot_store();
    pass(milliseconds(1));
    uint64_t of_b = fill(b);
    EXPECT_TRUE(files_->sync(kVnode, a, false));
    EXPECT_TRUE(files_->sync(kVnode, b, false));
    boot_home();
    expect_filled(a, of_a);
    expect_filled(b, of_b);
}

// What is set aside for a home goes with it.
TEST_F(FilePath, AFencedHomesBlocksAreFree) {
    uint64_t before = free_bytes();
    fill(create("a"), 0, 400'000);
    EXPECT_LE(free_bytes(), before - 400'000);
    rpc::Identity dead = home_node_->self;
    boot_home();
    service_->fenced({dead.node, dead.incarnation});
    store_->fence({dead.node, dead.incarnation}, [](Result<void> r) { EXPECT_TRUE(r); });
    EXPECT_EQ(free_bytes(), before);
}

TEST_F(FilePath, AWriteOutIsNotCutByAnOlderOneThatEndsLater) {
    posix::FileRef f = create("a");
    write(f, 0, std::string(4096, 'a'));
    disk_.late = true;
    clock_.now_ += seconds(6);
    home_->poll();
    cluster_.pump();
    auto first = std::move(disk_.waiting);
    disk_.waiting.clear();
    ASSERT_EQ(first.size(), 1u);
    write(f, 4096, std::string(4096, 'b'));
    clock_.now_ += seconds(6);
    home_->poll();
    cluster_.pump();
    ASSERT_EQ(disk_.waiting.size(), 1u);
    disk_.late = false;
    disk_.waiting[0]({});
    first[0]({});
    cluster_.pump();
    ASSERT_TRUE(files_->sync(kVnode, f, false));
    boot_home();
    EXPECT_EQ(read(f), std::string(4096, 'a') + std::string(4096, 'b'));
}

TEST_F(FilePath, ARestartedHomeSaysThatUnsyncedDataIsLost) {
    posix::FileRef f = create("a");
    auto text = bytes_of(std::string_view("text"));
    auto w = files_->write(kVnode, f, 0, text, false);
    ASSERT_TRUE(w);
    EXPECT_NE(w->home, 0u);
    EXPECT_TRUE(files_->sync(kVnode, f, false, w->home));
    w = files_->write(kVnode, f, 0, bytes_of(std::string_view("lost")), false, w->home);
    ASSERT_TRUE(w);
    boot_home();
    EXPECT_FALSE(files_->over(w->home));
    std::string out(4, 0);
    EXPECT_EQ(files_->sync(kVnode, f, false, w->home).error(), Error::Lost);
    EXPECT_EQ(files_->read(kVnode, f, 0, mutable_bytes(out), w->home).error(), Error::Lost);
    EXPECT_EQ(files_->write(kVnode, f, 0, text, false, w->home).error(), Error::Lost);
    EXPECT_TRUE(files_->over(w->home));
    EXPECT_EQ(read(f), "text"); // whoever has nothing unsynced
    EXPECT_TRUE(files_->sync(kVnode, f, false));
}

// One of two homes dies: its files go on at the other one, and nobody else notices.
TEST_F(FilePath, ASecondHomeTakesOverFromADeadOne) {
    mmon::FileHome::Options options;
    options.reserved_frames = 16;
    env::HeapFrames frames(600);
    auto& node = cluster_.add(kM2, rpc::NodeKind::Memory);
    options.incarnation = node.self.incarnation;
    mmon::FileHome second(node, frames, clock_, options);
    files_->set_homes(kVnode, 2, {kM, kM2});
    posix::FileRef mine, others; // homed at the one that dies, and at the other one
    for (int i = 0; !mine || !others; i++) {
        posix::FileRef f = create("f" + std::to_string(i));
        (*files_->home(kVnode, f.id) == kM ? mine : others) = f;
    }
    auto text = bytes_of(std::string_view("text"));
    ASSERT_TRUE(files_->write(kVnode, mine, 0, text, false));
    ASSERT_TRUE(files_->sync(kVnode, mine, false));
    auto a = files_->write(kVnode, mine, 0, bytes_of(std::string_view("lost")), false);
    auto b = files_->write(kVnode, others, 0, text, false);
    ASSERT_TRUE(a && b);
    home_.reset();
    cluster_.kill(kM);
    std::string out(4, 0);
    EXPECT_EQ(files_->read(kVnode, mine, 0, mutable_bytes(out), a->home).error(), Error::Lost);
    EXPECT_TRUE(files_->over(a->home));
    files_->set_homes(kVnode, 3, {kM2});
    EXPECT_EQ(*files_->home(kVnode, others.id), kM2);
    EXPECT_TRUE(files_->sync(kVnode, others, false, b->home));
    EXPECT_EQ(read(mine), "text");
    EXPECT_EQ(files_->sync(kVnode, mine, false, a->home).error(), Error::Lost);
    auto again = files_->write(kVnode, mine, 0, bytes_of(std::string_view("anew")), false);
    ASSERT_TRUE(again);
    EXPECT_TRUE(files_->sync(kVnode, mine, false, again->home));
    EXPECT_EQ(read(mine), "anew");
}

TEST_F(FilePath, AFileThatIsOpenTwiceOutlivesOneClose) {
    posix::FileRef f = create("a");
    write(f, 0, "text");
    ASSERT_TRUE(files_->hold(kVnode, f));
    ASSERT_TRUE(files_->hold(kVnode, f));
    files_->release(kVnode, f);
    ASSERT_TRUE(files_->unlink(kVnode, {}, root_, "a", false));
    EXPECT_EQ(read(f), "text");
    files_->release(kVnode, f);
    std::string out(4, 0);
    EXPECT_EQ(files_->read(kVnode, f, 0, mutable_bytes(out)).error(), Error::Stale);
}

// Random operations on a few files against a model, with restarts of the home in between (after a
// sync, so that nothing may be lost) and more data than the home has frames for.
TEST_F(FilePath, AgreesWithAModel) {
    std::mt19937 dice(7);
    std::map<int, std::pair<posix::FileRef, std::string>> model;
    for (int i = 0; i < 6; i++)
        model[i] = {create("m" + std::to_string(i)), ""};
    for (int step = 0; step < 3000; step++) {
        auto& [f, text] = model[static_cast<int>(dice() % 6)];
        switch (dice() % 10) {
            case 0:
            case 1:
            case 2:
            case 3: {
                size_t at = dice() % 600000, n = 1 + dice() % 70000;
                std::string piece(n, static_cast<char>('a' + dice() % 26));
                ASSERT_EQ(write(f, at, piece), n);
                if (text.size() < at + n) text.resize(at + n);
                text.replace(at, n, piece);
                break;
            }
            case 4: {
                posix::AttributeChange c;
                c.set_size = true;
                c.size = dice() % 700000;
                ASSERT_TRUE(files_->change(kVnode, {}, f, c));
                text.resize(c.size);
                break;
            }
            case 5:
                ASSERT_TRUE(files_->sync(kVnode, f, false));
                break;
            case 6:
                clock_.now_ += seconds(2);
                home_->poll();
                cluster_.pump();
                break;
            case 7:
                if (dice() % 20 == 0) {
                    ASSERT_TRUE(files_->sync_all(kVnode));
                    boot_home();
                }
                break;
            default: {
                size_t at = text.empty() ? 0 : dice() % text.size(), n = dice() % 100000;
                ASSERT_EQ(read(f, at, n), text.substr(at, n)) << "step " << step;
                ASSERT_EQ(size_of(f), text.size());
            }
        }
    }
    for (auto& [i, m] : model)
        EXPECT_EQ(read(m.first), m.second);
}

} // namespace
} // namespace tessera
