// Console: what a program that `tess run` started is connected to: one terminal, or three byte
// streams. The pComponent's end of kConsolePoll, kConsoleInput, kConsoleResize and kSignal.
//
// Nothing here blocks but the program's own writes (64 KiB per stream; a full stream stops the
// writer). poll() and input() may be called from any thread. `notify` is called, from the thread
// that caused it and with locks held, whenever a poll would now answer something new: it must only
// post.
#pragma once

#include <atomic>

#include "monitors/process/posix/stream/byte_stream.hpp"
#include "monitors/process/posix/tty/tty.hpp"
#include "net/schema/process.hpp"

namespace tessera::posix {

class Process;

class Console final : public RefCounted {
  public:
    // rows, columns: of the terminal; `terminal` false: three streams.
    Console(Vnode& v, uint64_t id, bool terminal, uint16_t rows, uint16_t columns);
    ~Console() override;

    uint64_t id() const { return id_; }
    Vnode& vnode() { return vnode_; }
    bool is_terminal() const { return static_cast<bool>(terminal_); }
    const Ref<Terminal>& terminal() const { return terminal_; }

    // A NUL-free view of what kConsolePoll answers. Bytes before the offsets are forgotten.
    // `ready`: something new is in it (else: park the poll). Range: an offset is not held any more.
    struct Snapshot {
        std::vector<std::byte> out, error;
        schema::ConsoleState state = schema::ConsoleState::Running;
        uint8_t code = 0;
        bool out_end = false, error_end = false;
        uint32_t input_room = 0;
        std::string reason;
        bool ready = false;
    };
    Result<Snapshot> poll(uint64_t out_offset, uint64_t error_offset, size_t most);
    void set_notify(Function<void()> notify);

    // Takes what there is room for. Returns the total taken since the start. Range: a gap.
    Result<uint64_t> input(uint64_t offset, Bytes data, bool end);
    Result<void> resize(uint16_t rows, uint16_t columns); // NotTty
    Result<void> signal(int signal); // to the foreground group, or the program's group
    void hang_up();                  // SIGHUP, SIGCONT; the console is about to be forgotten
    // False: somebody outside is there who continues what has stopped, as a shell would.
    bool hung_up() const { return hung_up_; }

    // Descriptors 0, 1, 2 of the program.
    std::array<Ref<Description>, 3> open_descriptors();
    void attach(Process& root); // (V)
    void state_changed(schema::ConsoleState s, uint8_t code,
                       std::string_view reason); // (V) may be held

  private:
    void changed();

    Vnode& vnode_;
    uint64_t id_;
    Ref<Terminal> terminal_;
    Ref<ByteStream> input_, out_, error_;
    kernel::Mutex mutex_{kernel::LockRank::Leaf};
    Function<void()> notify_;
    Pid root_;
    schema::ConsoleState state_ = schema::ConsoleState::Running;
    schema::ConsoleState reported_ = schema::ConsoleState::Running;
    uint8_t code_ = 0;
    std::string reason_;
    uint64_t taken_ = 0;
    std::atomic<bool> hung_up_{false};
    bool input_ended_ = false;
};

} // namespace tessera::posix
