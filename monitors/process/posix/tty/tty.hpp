// Terminal: Linux's N_TTY line discipline over a console: canonical and raw input, editing, echo,
// signals from keys, output post-processing, window size, the foreground process group.
//
// Lock rank Terminal. Signals that keys cause are sent after that lock is released (Vnode's is
// outside of it). Program output goes to a ByteStream, which blocks its writer; echo never blocks
// and is dropped when the stream is full.
#pragma once

#include <string>

#include "monitors/process/posix/stream/byte_stream.hpp"
#include "monitors/process/posix/tty/termios.hpp"

namespace tessera::posix {

class Task;

class Terminal final : public Object {
  public:
    static constexpr size_t kInputCapacity = 4096;

    Terminal(Vnode& v, uint32_t index, Ref<ByteStream> output, WindowSize size);
    ~Terminal() override;

    uint32_t index() const { return index_; } // N of /dev/pts/N
    std::string path() const;

    // --- the keyboard's side ---
    size_t input(Bytes typed); // returns bytes taken
    size_t input_room();
    void hang_up(); // the console went away: readers see the end, the session SIGHUP
    bool hung_up();

    // --- the program's side; `t` null: no job control ---
    Result<size_t> read(Task* t, MutableBytes into, bool nonblocking);
    Result<size_t> write(Task* t, Bytes from, bool nonblocking);
    uint16_t poll();
    size_t bytes_ready();
    // ioctl on values (the caller copies). Errors as Linux.
    Termios termios();
    Result<void> set_termios(Task* t, const Termios& to, bool flush);
    WindowSize size();
    void set_size(WindowSize s); // SIGWINCH to the foreground group if it changed
    void flush_input();

    // Controlling terminal. Rank Vnode is held by none of the callers.
    Result<Pid> foreground(Task& t);                 // NotTty unless it is t's terminal
    Result<void> set_foreground(Task& t, Pid group); // NotTty, NotPermitted, InvalidArgument
    Result<void> make_controlling(Task& t, bool steal);
    Result<void> disown(Task& t); // TIOCNOTTY
    Result<Pid> session_of(Task& t);
    void set_session(Pid session, Pid group); // by the console, before the program starts
    Pid foreground_group();
    Pid session();
    void session_ended(); // (V) may be held: the leader is gone

    void record(Archive& a) override;

  private:
    struct Keys;
    Result<void> check_job_control(Task* t, int signal); // SIGTTIN or SIGTTOU
    void type(uint8_t c, Keys& out);
    void type_canonical(uint8_t c, Keys& out);
    void echo(uint8_t c, Keys& out);
    void erase_one(Keys& out);
    void put_output(uint8_t c, std::vector<std::byte>& to);
    void push(uint8_t c);
    size_t complete() const; // bytes a canonical read may take now: up to a line end
    bool readable_locked() const;

    uint32_t index_;
    Ref<ByteStream> output_;
    kernel::Mutex mutex_{kernel::LockRank::Terminal};
    kernel::WaitQueue input_changed_;
    Termios termios_;
    WindowSize size_;
    std::string input_; // typed, in order; lines_ of them are complete (canonical)
    std::string marks_; // parallel to input_: 1 = ends a line, 2 = an end-of-file mark
    size_t lines_ = 0;
    uint32_t column_ = 0;
    uint32_t edit_column_ = 0; // where the line being edited began
    bool literal_next_ = false;
    bool hung_up_ = false;
    Pid session_;
    Pid foreground_;
};

// A descriptor on a terminal (/dev/pts/N, /dev/tty).
class TerminalFile final : public Description {
  public:
    TerminalFile(Vnode& v, Ref<Terminal> t, uint32_t flags, Location where)
        : Description(v, ObjectKind::TerminalFile, flags, std::move(where)),
          terminal_(std::move(t)) {}
    Result<size_t> read(MutableBytes into) override;
    Result<size_t> write(Bytes from) override;
    Result<Attributes> attributes() override;
    Result<Attributes> change(const Credentials& who, const AttributeChange& c) override;
    uint16_t poll() override { return terminal_->poll(); }
    size_t bytes_ready() override { return terminal_->bytes_ready(); }
    Terminal* terminal() override { return terminal_.get(); }
    void record(Archive& a) override;

  private:
    Ref<Terminal> terminal_;
};

} // namespace tessera::posix
