// Save and load of every object kind: what was saved, loaded into a fresh object, saves the same
// again.
#include <gtest/gtest.h>

#include "monitors/process/posix/fs/dev_fs.hpp"
#include "monitors/process/posix/fs/proc_fs.hpp"
#include "monitors/process/posix/fs/store_fs.hpp"
#include "monitors/process/posix/pipe/pipe.hpp"
#include "tests/unit/monitors/posix/world.hpp"

namespace tessera::posix::test {
namespace {

class Record : public testing::Test {
  protected:
    static std::vector<std::byte> save(Object& o) {
        Archive a;
        o.record(a);
        return a.saved();
    }
    // `from` and `to` are of one kind; to's own references stay what they were.
    void round_trip(Object& from, Object& to) {
        std::vector<std::byte> bytes = save(from);
        Archive in{Bytes(bytes)};
        to.record(in);
        EXPECT_FALSE(in.failed());
        EXPECT_TRUE(in.at_end());
        EXPECT_EQ(save(to), bytes);
        for (size_t n = 0; n < bytes.size(); n += 7) { // cut short: an error, never a crash
            Archive cut{Bytes(bytes).first(n)};
            to.record(cut);
            EXPECT_TRUE(cut.failed());
        }
    }
    World w;
    Vnode& v = *w.vnode;
};

TEST_F(Record, Pipe) {
    auto a = make_ref<Pipe>(v), b = make_ref<Pipe>(v);
    {
        PipeEnd out(v, a, kOpenWrite), in(v, a, kOpenRead);
        ASSERT_EQ(*out.write(bytes_of(std::string_view("held in the pipe"))), 16u);
        round_trip(*a, *b);
    }
}

TEST_F(Record, PipeKeepsItsBytes) {
    auto a = make_ref<Pipe>(v), b = make_ref<Pipe>(v);
    PipeEnd out(v, a, kOpenWrite), in(v, a, kOpenRead), in_b(v, b, kOpenRead);
    ASSERT_TRUE(out.write(bytes_of(std::string_view("abc"))));
    auto bytes = save(*a);
    Archive ar{Bytes(bytes)};
    b->record(ar);
    std::byte got[8];
    EXPECT_EQ(*in_b.read(got), 3u);
    EXPECT_EQ(text_of(Bytes(got, 3)), "abc");
}

TEST_F(Record, Stream) {
    auto a = make_ref<ByteStream>(v), b = make_ref<ByteStream>(v);
    a->offer(bytes_of(std::string_view("output")));
    ASSERT_TRUE(a->fetch(2, 1));
    round_trip(*a, *b);
}

TEST_F(Record, Terminal) {
    auto out = make_ref<ByteStream>(v);
    auto a = make_ref<Terminal>(v, 7, out, WindowSize{24, 80, 0, 0});
    auto b = make_ref<Terminal>(v, 8, out, WindowSize{});
    a->input(bytes_of(std::string_view("one\ntwo")));
    Termios t = a->termios();
    t.local &= ~kEcho;
    ASSERT_TRUE(a->set_termios(nullptr, t, false));
    round_trip(*a, *b);
}

TEST_F(Record, TaskAndProcess) {
    auto p = make_ref<Process>(v, Pid(100)), q = make_ref<Process>(v, Pid(101));
    p->name = "program";
    p->command_line = std::string("a\0b\0", 4);
    p->pending.add({.number = kSigUsr1, .pid = 3});
    p->pending.add({.number = 40, .value = 1});
    p->pending.add({.number = 40, .value = 2});
    p->actions[kSigInt] = {0x1234, kSaRestart, 0x5678, 0xff};
    p->ids = {1, 2, 3, 4, 5, 6, {7, 8}, 2};
    p->limits[kLimitStack] = {1 << 20, 2 << 20};
    q->descriptors = p->descriptors = make_ref<DescriptorTable>(v);
    round_trip(*p, *q);
    auto a = make_ref<Task>(v, *p, Pid(100)), b = make_ref<Task>(v, *q, Pid(101));
    a->context.registers.rip = 0x401000;
    a->blocked = 0xf0;
    a->alternate = {0x7000, 0x2000, 0};
    round_trip(*a, *b);
}

TEST_F(Record, GroupsAndSessions) {
    auto s = make_ref<Session>(v, Pid(50)), s2 = make_ref<Session>(v, Pid(51));
    round_trip(*s, *s2);
    auto g = make_ref<ProcessGroup>(v, Pid(50), s), g2 = make_ref<ProcessGroup>(v, Pid(51), s);
    round_trip(*g, *g2);
}

TEST_F(Record, Descriptions) {
    Location at{v.mounts().all().front().fs, {FileId(1), Generation(1)}, "/tmp/x"};
    TextFile a(v, "some text", kOpenRead, at), b(v, "", kOpenRead, at);
    ASSERT_TRUE(a.seek(3, kSeekSet));
    round_trip(a, b);
    Directory d(*at.fs, kOpenRead, at, false), e(*at.fs, kOpenRead, at, false);
    ASSERT_TRUE(d.seek(2, kSeekSet));
    round_trip(d, e);
    DeviceFile n(v, make_device(1, 3), kOpenReadWrite, at), z(v, make_device(1, 5), kOpenRead, at);
    round_trip(n, z);
}

TEST_F(Record, EndsOfPipesStreamsAndTerminals) {
    auto pipe = make_ref<Pipe>(v);
    PipeEnd a(v, pipe, kOpenWrite), b(v, pipe, kOpenRead);
    round_trip(a, b);
    auto stream = make_ref<ByteStream>(v);
    StreamEnd c(v, stream, true), d(v, stream, true);
    round_trip(c, d);
    auto terminal = make_ref<Terminal>(v, 7, stream, WindowSize{});
    Location at{v.mounts().all().front().fs, {FileId(1), Generation(1)}, "/dev/tty"};
    TerminalFile e(v, terminal, kOpenReadWrite, at), f(v, terminal, kOpenRead, at);
    round_trip(e, f);
    PathFile g(v, kOpenPath, at), h(v, 0, at);
    round_trip(g, h);
}

TEST_F(Record, DescriptorTableFindsItsDescriptionsAgain) {
    auto pipe = make_ref<Pipe>(v);
    auto in = make_ref<PipeEnd>(v, pipe, kOpenRead), out = make_ref<PipeEnd>(v, pipe, kOpenWrite);
    auto a = make_ref<DescriptorTable>(v), b = make_ref<DescriptorTable>(v);
    ASSERT_TRUE(a->put(0, in, false));
    ASSERT_TRUE(a->put(5, out, true));
    ASSERT_TRUE(a->put(6, out, false)); // dup
    ASSERT_TRUE(b->put(9, in, false));
    round_trip(*a, *b);
    EXPECT_EQ(b->numbers(), (std::vector<int>{0, 5, 6}));
    EXPECT_EQ((*b->get(5)).get(), out.get());
    EXPECT_EQ((*b->get(6)).get(), out.get());
    EXPECT_TRUE(*b->close_on_exec(5));
    EXPECT_FALSE(*b->close_on_exec(6));
    // An id of nobody, and one of an object that is no description.
    for (uint64_t id : {uint64_t{987654}, pipe->id()}) {
        auto bytes = save(*a);
        std::memcpy(bytes.data() + 16, &id, sizeof id); // count, fd, id
        Archive in_bytes{Bytes(bytes)};
        b->record(in_bytes);
        EXPECT_TRUE(in_bytes.failed());
        EXPECT_EQ(b->numbers().size(), 3u);
    }
}

TEST(Ids, AreNeverReused) {
    World w;
    uint64_t first = make_ref<Pipe>(*w.vnode)->id();
    EXPECT_GT(make_ref<Pipe>(*w.vnode)->id(), first);
}

} // namespace
} // namespace tessera::posix::test
