// The line discipline, key by key.
#include <gtest/gtest.h>

#include "monitors/process/posix/pipe/pipe.hpp"
#include "tests/unit/monitors/posix/world.hpp"

namespace tessera::posix::test {
namespace {

class Tty : public testing::Test {
  protected:
    void type(std::string_view s) { t->input(bytes_of(s)); }
    // What a non-blocking read gives; "<again>" if nothing.
    std::string line(size_t most = 100) {
        std::vector<std::byte> b(most);
        auto n = t->read(nullptr, b, true);
        if (!n) return n.error() == Error::Again ? "<again>" : "<error>";
        return std::string(text_of(Bytes(b).first(*n)));
    }
    std::string screen() {
        auto b = out->fetch(seen, 10000);
        seen += b->size();
        return std::string(text_of(*b));
    }
    void set(auto change) {
        Termios x = t->termios();
        change(x);
        ASSERT_TRUE(t->set_termios(nullptr, x, false));
    }
    World w;
    Ref<ByteStream> out = make_ref<ByteStream>(*w.vnode);
    Ref<Terminal> t = make_ref<Terminal>(*w.vnode, 3, out, WindowSize{24, 80, 0, 0});
    uint64_t seen = 0;
};

TEST_F(Tty, GivesWholeLines) {
    type("ab");
    EXPECT_EQ(line(), "<again>");
    type("c\rnext");
    EXPECT_EQ(line(), "abc\n");
    EXPECT_EQ(line(), "<again>");
    EXPECT_EQ(screen(), "abc\r\nnext");
}

TEST_F(Tty, ReadsALineInParts) {
    type("abcdef\n");
    EXPECT_EQ(line(4), "abcd");
    EXPECT_EQ(line(4), "ef\n");
}

TEST_F(Tty, Erases) {
    type(
        "abX\x7f"
        "c\n");
    EXPECT_EQ(line(), "abc\n");
    EXPECT_EQ(screen(), "abX\b \bc\r\n");
    type("gone\x15kept\n");
    EXPECT_EQ(line(), "kept\n");
    type("two words\x17w\n");
    EXPECT_EQ(line(), "two w\n");
    type("\xc3\xa4\x7fx\n"); // one character of two bytes
    EXPECT_EQ(line(), "x\n");
    type("done\n\x7f\x7fy\n"); // a finished line is out of reach
    EXPECT_EQ(line(), "done\n");
    EXPECT_EQ(line(), "y\n");
}

TEST_F(Tty, EndsAFile) {
    type("\x04");
    EXPECT_EQ(line(), "");
    type("part\x04");
    EXPECT_EQ(line(), "part");
    EXPECT_EQ(line(), "<again>");
}

TEST_F(Tty, TakesTheNextKeyLiterally) {
    type("a\x16\x03\n");
    EXPECT_EQ(line(), "a\x03\n");
}

TEST_F(Tty, RawGivesEveryKey) {
    set([](Termios& x) {
        x.local &= ~(kIcanon | kEcho | kIsig), x.input &= ~kIcrnl, x.characters[kVmin] = 1;
    });
    type("a\r\x03\x04");
    EXPECT_EQ(line(), "a\r\x03\x04");
    EXPECT_EQ(screen(), "");
    set([](Termios& x) { x.characters[kVmin] = 0, x.characters[kVtime] = 0; });
    EXPECT_EQ(line(), "");
}

TEST_F(Tty, OutputIsPostProcessed) {
    ASSERT_TRUE(t->write(nullptr, bytes_of(std::string_view("a\nb")), false));
    EXPECT_EQ(screen(), "a\r\nb");
    set([](Termios& x) { x.output &= ~kOpost; });
    ASSERT_TRUE(t->write(nullptr, bytes_of(std::string_view("a\nb")), false));
    EXPECT_EQ(screen(), "a\nb");
}

TEST_F(Tty, AFullLineCanStillBeEnded) {
    type(std::string(5000, 'x'));
    type("\n");
    EXPECT_EQ(line(10000).size(), Terminal::kInputCapacity);
}

TEST_F(Tty, HangUpEndsReaders) {
    t->hang_up();
    EXPECT_EQ(line(), "");
    auto n = t->write(nullptr, bytes_of(std::string_view("x")), false);
    EXPECT_EQ(n.error(), Error::Io);
}

TEST(PipeRules, AtomicAndBroken) {
    World w;
    auto p = make_ref<Pipe>(*w.vnode);
    auto out = make_ref<PipeEnd>(*w.vnode, p, kOpenWrite | kOpenNonBlock);
    auto in = make_ref<PipeEnd>(*w.vnode, p, kOpenRead | kOpenNonBlock);
    std::vector<std::byte> block(Pipe::kCapacity - 100), small(200), got(300);
    EXPECT_EQ(*out->write(block), block.size());
    EXPECT_EQ(out->write(small).error(), Error::Again); // all or nothing up to PIPE_BUF
    EXPECT_FALSE(out->poll() & kPollOut);
    EXPECT_EQ(*in->read(block), block.size());
    EXPECT_EQ(in->read(got).error(), Error::Again);
    EXPECT_EQ(*out->write(small), 200u);
    out = nullptr;
    EXPECT_EQ(*in->read(got), 200u);
    EXPECT_EQ(*in->read(got), 0u);
    EXPECT_TRUE(in->poll() & kPollHangup);
    auto again = make_ref<PipeEnd>(*w.vnode, p, kOpenWrite);
    in = nullptr;
    EXPECT_EQ(again->write(small).error(), Error::BrokenPipe);
}

TEST(Signals, StandardOnceRealtimeQueued) {
    PendingSignals p;
    EXPECT_TRUE(p.add({.number = kSigUsr1, .pid = 1}));
    EXPECT_TRUE(p.add({.number = kSigUsr1, .pid = 2}));
    EXPECT_TRUE(p.add({.number = 35, .value = 1}));
    EXPECT_TRUE(p.add({.number = 35, .value = 2}));
    EXPECT_TRUE(p.add({.number = kSigSegv}));
    EXPECT_EQ(p.take(~0ull).number, kSigSegv); // faults first
    EXPECT_EQ(p.take(~0ull).pid, 1u);
    EXPECT_EQ(p.take(~signal_bit(35)).number, 0);
    EXPECT_EQ(p.take(~0ull).value, 1u);
    EXPECT_EQ(p.take(~0ull).value, 2u);
    EXPECT_EQ(p.set(), 0u);
    for (size_t i = 0; i < PendingSignals::kMostQueued; i++)
        EXPECT_TRUE(p.add({.number = 40}));
    EXPECT_FALSE(p.add({.number = 40}));
}

} // namespace
} // namespace tessera::posix::test
