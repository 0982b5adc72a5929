// What typing does: keys that end, edit and interrupt, and their echo.

#include "monitors/process/posix/tty/tty.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

// What typing caused, carried out after the lock is gone.
struct Terminal::Keys {
    std::vector<std::byte> echo;
    std::vector<int> signals;
};

void Terminal::push(uint8_t c) {
    input_.push_back(static_cast<char>(c));
    marks_.push_back(0);
}

size_t Terminal::input(Bytes typed) {
    Keys out;
    size_t taken = 0;
    Pid group;
    {
        MutexGuard guard(mutex_);
        for (std::byte b : typed) {
            // A full line buffer still takes keys that end, erase or interrupt; the rest waits
            // outside.
            if (hung_up_) break;
            if (input_.size() >= kInputCapacity && !(termios_.local & kIcanon)) break;
            type(static_cast<uint8_t>(b), out);
            taken++;
        }
        group = foreground_;
        input_changed_.wake_all();
    }
    if (!out.echo.empty()) output_->offer(out.echo);
    vnode().poll_changed();
    if (!out.signals.empty() && group) {
        MutexGuard guard(vnode().mutex());
        if (ProcessGroup* g = vnode().find_group(group))
            for (int s : out.signals)
                vnode().send_to_group(*g, {.number = s, .code = kSiKernel});
    }
    return taken;
}

void Terminal::echo(uint8_t c, Keys& out) {
    if ((termios_.local & kEchoctl) && c < 32 && c != '\n' && c != '\t') {
        put_output('^', out.echo);
        put_output(static_cast<uint8_t>(c + 64), out.echo);
    } else if ((termios_.local & kEchoctl) && c == 127) {
        put_output('^', out.echo);
        put_output('?', out.echo);
    } else {
        put_output(c, out.echo);
    }
}

void Terminal::type(uint8_t c, Keys& out) {
    const uint8_t* key = termios_.characters;
    if (termios_.input & kIstrip) c &= 127;
    if (literal_next_) {
        literal_next_ = false;
        push(c);
        if (termios_.local & kEcho) echo(c, out);
        return;
    }
    if (c == '\r') {
        if (termios_.input & kIgncr) return;
        if (termios_.input & kIcrnl) c = '\n';
    } else if (c == '\n' && (termios_.input & kInlcr)) {
        c = '\r';
    }
    if (termios_.local & kIsig) {
        int signal = 0;
        if (c && c == key[kVintr]) signal = kSigInt;
        if (c && c == key[kVquit]) signal = kSigQuit;
        if (c && c == key[kVsusp]) signal = kSigTstp;
        if (signal) {
            if (!(termios_.local & kNoflsh)) {
                input_.clear();
                marks_.clear();
                lines_ = 0;
            }
            if (termios_.local & kEcho) echo(c, out);
            out.signals.push_back(signal);
            return;
        }
    }
    if ((termios_.input & kIxon) && (c == key[kVstart] || c == key[kVstop]))
        return; // no flow control needed
    if (termios_.local & kIcanon) return type_canonical(c, out);
    if (input_.size() < kInputCapacity) push(c);
    if (termios_.local & kEcho) echo(c, out);
}

// Takes one character (a whole UTF-8 sequence) off the line being edited, if there is one.
void Terminal::erase_one(Keys& out) {
    if (input_.empty() || marks_.back()) return;
    uint8_t c;
    do {
        c = static_cast<uint8_t>(input_.back());
        input_.pop_back();
        marks_.pop_back();
    } while ((termios_.input & kIutf8) && (c & 0xc0) == 0x80 && !input_.empty() && !marks_.back());
    if (!(termios_.local & kEcho)) return;
    if (!(termios_.local & kEchoe)) return echo(termios_.characters[kVerase], out);
    unsigned width = (c < 32 || c == 127) && (termios_.local & kEchoctl) ? 2 : 1;
    if (c == '\t') { // back to where the column before the tab was
        uint32_t at = edit_column_;
        for (size_t i = input_.size(); i > 0 && !marks_[i - 1]; i--)
            at++;
        width = column_ > at ? column_ - at : 1;
    }
    while (width--) {
        for (uint8_t x : {'\b', ' ', '\b'})
            put_output(x, out.echo);
    }
}

void Terminal::type_canonical(uint8_t c, Keys& out) {
    const uint8_t* key = termios_.characters;
    bool extended = termios_.local & kIexten;
    bool editing = !input_.empty() && !marks_.back();
    if (!editing) edit_column_ = column_;
    if (c && c == key[kVerase]) return erase_one(out);
    if (c && c == key[kVkill]) {
        while (!input_.empty() && !marks_.back())
            erase_one(out);
        return;
    }
    if (extended && c && c == key[kVwerase]) {
        while (!input_.empty() && !marks_.back() && input_.back() == ' ')
            erase_one(out);
        while (!input_.empty() && !marks_.back() && input_.back() != ' ')
            erase_one(out);
        return;
    }
    if (extended && c && c == key[kVlnext]) {
        literal_next_ = true;
        if (termios_.local & kEcho)
            for (uint8_t x : {'^', '\b'})
                put_output(x, out.echo);
        return;
    }
    if (extended && c && c == key[kVreprint]) {
        echo(c, out);
        put_output('\n', out.echo);
        size_t from = input_.size();
        while (from > 0 && !marks_[from - 1])
            from--;
        for (; from < input_.size(); from++)
            echo(static_cast<uint8_t>(input_[from]), out);
        return;
    }
    if (c && c == key[kVeof]) {
        push(0);
        marks_.back() = 2;
        lines_++;
        return;
    }
    bool ends = c == '\n' || (c && (c == key[kVeol] || c == key[kVeol2]));
    if (!ends && input_.size() >= kInputCapacity - 1)
        return; // as Linux: the line can only be ended
    push(c);
    if (termios_.local & kEcho)
        echo(c, out);
    else if (c == '\n' && (termios_.local & kEchonl))
        put_output('\n', out.echo);
    if (!ends) return;
    marks_.back() = 1;
    lines_++;
}

} // namespace tessera::posix
