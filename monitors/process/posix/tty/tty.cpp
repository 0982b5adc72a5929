#include "monitors/process/posix/tty/tty.hpp"

#include "base/format.hpp"
#include "monitors/process/posix/fs/dev_fs.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

Termios default_termios() {
    Termios t;
    t.input = kIcrnl | kIxon | kIutf8;
    t.output = kOpost | kOnlcr;
    t.control = 0xbf; // B38400 | CS8 | CREAD
    t.local = kIsig | kIcanon | kEcho | kEchoe | kEchok | kEchoctl | kEchoke | kIexten;
    static constexpr uint8_t kKeys[17] = {3,  28, 127, 21, 4,  0,  1,  0, 17,
                                          19, 26, 0,   18, 15, 23, 22, 0};
    for (unsigned i = 0; i < 17; i++)
        t.characters[i] = kKeys[i];
    return t;
}

Terminal::Terminal(Vnode& v, uint32_t index, Ref<ByteStream> output, WindowSize size)
    : Object(v, ObjectKind::Terminal),
      index_(index),
      output_(std::move(output)),
      termios_(default_termios()),
      size_(size) {}

Terminal::~Terminal() = default;

std::string Terminal::path() const {
    char s[32];
    format_text(s, sizeof s, "/dev/pts/%u", index_);
    return s;
}

// --- input ---

size_t Terminal::input_room() {
    MutexGuard guard(mutex_);
    return hung_up_ ? 0 : kInputCapacity - std::min(input_.size(), kInputCapacity);
}

size_t Terminal::complete() const {
    for (size_t i = 0; i < marks_.size(); i++)
        if (marks_[i]) return i + 1;
    return 0;
}

bool Terminal::readable_locked() const {
    if (hung_up_) return true;
    if (termios_.local & kIcanon) return lines_ > 0;
    size_t least = termios_.characters[kVtime] ? 1 : termios_.characters[kVmin];
    return input_.size() >= (least ? least : 1);
}

void Terminal::hang_up() {
    Pid leader, group;
    {
        MutexGuard guard(mutex_);
        if (hung_up_) return;
        hung_up_ = true;
        leader = session_;
        group = foreground_;
        input_changed_.wake_all();
    }
    output_->end();
    vnode().poll_changed();
    MutexGuard guard(vnode().mutex());
    if (Process* p = vnode().find_process(leader)) {
        vnode().send(*p, {.number = kSigHup, .code = kSiKernel});
        vnode().send(*p, {.number = kSigCont, .code = kSiKernel});
    }
    if (ProcessGroup* g = vnode().find_group(group))
        vnode().send_to_group(*g, {.number = kSigHup, .code = kSiKernel});
}

bool Terminal::hung_up() {
    MutexGuard guard(mutex_);
    return hung_up_;
}

void Terminal::session_ended() {
    MutexGuard guard(mutex_);
    session_ = Pid();
    foreground_ = Pid();
    hung_up_ = true;
    input_changed_.wake_all();
}

Result<size_t> Terminal::read(Task* t, MutableBytes into, bool nonblocking) {
    if (into.empty()) return 0;
    TRY(check_job_control(t, kSigTtin));
    MutexGuard guard(mutex_);
    if (termios_.local & kIcanon) {
        while (lines_ == 0) {
            if (hung_up_) return 0;
            if (nonblocking) return Fail(Error::Again);
            TRY(block_or_fail(input_changed_, mutex_));
            if (!(termios_.local & kIcanon)) break;
        }
    }
    if (termios_.local & kIcanon) {
        size_t line = complete();
        bool end_mark = marks_[line - 1] == 2;
        size_t text = line - end_mark;
        size_t n = std::min(into.size(), text);
        std::memcpy(into.data(), input_.data(), n);
        bool whole = n == text;
        size_t drop = whole ? line : n;
        input_.erase(0, drop);
        marks_.erase(0, drop);
        if (whole) lines_--;
        return n;
    }
    // Raw: VMIN bytes, or VTIME tenths of a second (between bytes if VMIN, from the start if not).
    uint8_t least = termios_.characters[kVmin];
    Nanos gap = milliseconds(100) * termios_.characters[kVtime];
    Nanos deadline = least || gap.value == 0 ? kNever : kernel::Thread::now() + gap;
    size_t target = std::min<size_t>(least ? least : 1, into.size());
    while (input_.size() < target) {
        if (hung_up_) break;
        if (least == 0 && gap.value == 0) break;
        if (nonblocking) {
            if (!input_.empty()) break;
            return Fail(Error::Again);
        }
        size_t before = input_.size();
        if (least && gap.value && before) deadline = kernel::Thread::now() + gap;
        Result<void> woken = block_or_fail(input_changed_, mutex_, deadline);
        if (woken) continue;
        if (woken.error() == Error::Timeout || !input_.empty()) break;
        return Fail(woken.error());
    }
    size_t n = std::min(into.size(), input_.size());
    std::memcpy(into.data(), input_.data(), n);
    for (size_t i = 0; i < n; i++)
        if (marks_[i]) lines_--;
    input_.erase(0, n);
    marks_.erase(0, n);
    return n;
}

// --- output ---

void Terminal::put_output(uint8_t c, std::vector<std::byte>& to) {
    auto put = [&](uint8_t x) { to.push_back(static_cast<std::byte>(x)); };
    if (!(termios_.output & kOpost)) return put(c);
    switch (c) {
        case '\n':
            if (termios_.output & kOnlcr) put('\r');
            column_ = 0;
            return put('\n');
        case '\r':
            if (termios_.output & kOcrnl) c = '\n';
            column_ = 0;
            return put(c);
        case '\t':
            column_ = (column_ | 7) + 1;
            return put(c);
        case '\b':
            if (column_) column_--;
            return put(c);
        default:
            if (c >= 32 && (c & 0xc0) != 0x80) column_++;
            return put(c);
    }
}

Result<size_t> Terminal::write(Task* t, Bytes from, bool nonblocking) {
    bool stop_background;
    {
        MutexGuard guard(mutex_);
        if (hung_up_) return Fail(Error::Io);
        stop_background = termios_.local & kTostop;
    }
    if (stop_background) TRY(check_job_control(t, kSigTtou));
    size_t done = 0;
    std::vector<std::byte> piece;
    while (done < from.size()) {
        Bytes now = from.subspan(done, std::min<size_t>(512, from.size() - done));
        piece.clear();
        {
            MutexGuard guard(mutex_);
            if (hung_up_) break;
            for (std::byte b : now)
                put_output(static_cast<uint8_t>(b), piece);
        }
        // Progress is counted in whole pieces, so an interrupted one is either not begun or
        // finished.
        Bytes rest = piece;
        while (!rest.empty()) {
            Result<size_t> n = output_->write(rest, nonblocking);
            if (!n) {
                if (n.error() == Error::BrokenPipe) return Fail(Error::Io);
                if (rest.size() < piece.size()) done += now.size(); // part is out: call it done
                if (done) return done;
                return Fail(n.error());
            }
            rest = rest.subspan(*n);
        }
        done += now.size();
    }
    if (done) return done;
    return Fail(Error::Io);
}

// --- state ---

uint16_t Terminal::poll() {
    uint16_t r = output_->poll_write();
    MutexGuard guard(mutex_);
    if (readable_locked()) r |= kPollIn | kPollReadNormal;
    if (hung_up_) r |= kPollHangup;
    return r;
}

size_t Terminal::bytes_ready() {
    MutexGuard guard(mutex_);
    if (!(termios_.local & kIcanon)) return input_.size();
    size_t line = complete();
    return line && marks_[line - 1] == 2 ? line - 1 : line;
}

Termios Terminal::termios() {
    MutexGuard guard(mutex_);
    return termios_;
}

Result<void> Terminal::set_termios(Task* t, const Termios& to, bool flush) {
    TRY(check_job_control(t, kSigTtou));
    MutexGuard guard(mutex_);
    bool was_canonical = termios_.local & kIcanon;
    termios_ = to;
    if (flush) {
        input_.clear();
        marks_.clear();
        lines_ = 0;
    }
    bool canonical = termios_.local & kIcanon;
    if (was_canonical && !canonical) { // what was typed becomes plain bytes; end marks vanish
        for (size_t i = 0; i < marks_.size(); i++) {
            if (marks_[i] != 2) continue;
            marks_.erase(i, 1);
            input_.erase(i--, 1);
        }
        for (char& m : marks_)
            m = 0;
        lines_ = 0;
    } else if (!was_canonical && canonical && !input_.empty()) { // Linux: it may be read as a line
        marks_.back() = 1;
        lines_ = 1;
    }
    input_changed_.wake_all();
    return {};
}

WindowSize Terminal::size() {
    MutexGuard guard(mutex_);
    return size_;
}

void Terminal::set_size(WindowSize s) {
    Pid group;
    {
        MutexGuard guard(mutex_);
        if (s.rows == size_.rows && s.columns == size_.columns) return;
        size_ = s;
        group = foreground_;
    }
    MutexGuard guard(vnode().mutex());
    if (ProcessGroup* g = vnode().find_group(group))
        vnode().send_to_group(*g, {.number = kSigWinch, .code = kSiKernel});
}

void Terminal::flush_input() {
    MutexGuard guard(mutex_);
    input_.clear();
    marks_.clear();
    lines_ = 0;
}

void Terminal::record(Archive& a) {
    a.number(index_);
    a.number(termios_.input);
    a.number(termios_.output);
    a.number(termios_.control);
    a.number(termios_.local);
    a.number(termios_.line);
    for (uint8_t& c : termios_.characters)
        a.number(c);
    a.number(size_.rows);
    a.number(size_.columns);
    a.text(input_);
    a.text(marks_);
    a.number(column_);
    a.number(edit_column_);
    a.number(literal_next_);
    a.number(hung_up_);
    a.number(session_);
    a.number(foreground_);
    if (!a.loading()) return;
    if (marks_.size() != input_.size()) {
        a.fail();
        input_.clear();
        marks_.clear();
    }
    lines_ = 0;
    for (char m : marks_)
        lines_ += m != 0;
}

} // namespace tessera::posix
