#include "monitors/process/posix/console/console.hpp"

#include "monitors/process/posix/fs/dev_fs.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

Console::Console(Vnode& v, uint64_t id, bool terminal, uint16_t rows, uint16_t columns)
    : vnode_(v), id_(id) {
    out_ = make_ref<ByteStream>(v);
    out_->set_notify([this] { changed(); });
    if (terminal) {
        terminal_ = make_ref<Terminal>(v, v.devices().next_terminal(), out_,
                                       WindowSize{rows, columns, 0, 0});
        v.devices().add_terminal(*terminal_);
        return;
    }
    input_ = make_ref<ByteStream>(v);
    error_ = make_ref<ByteStream>(v);
    error_->set_notify([this] { changed(); });
    input_->set_notify([this] { changed(); });
}

Console::~Console() {
    for (auto* s : {&out_, &error_, &input_})
        if (*s) (*s)->set_notify(nullptr);
    if (terminal_) vnode_.devices().remove_terminal(*terminal_);
}

void Console::set_notify(Function<void()> notify) {
    notify_ = std::move(notify);
}

void Console::changed() {
    if (notify_) notify_();
}

std::array<Ref<Description>, 3> Console::open_descriptors() {
    if (terminal_) {
        Location at = vnode_.devices().terminal_location(*terminal_);
        Ref<Description> d = make_ref<TerminalFile>(vnode_, terminal_, kOpenReadWrite, at);
        return {d, d, d};
    }
    return {make_ref<StreamEnd>(vnode_, input_, false), make_ref<StreamEnd>(vnode_, out_, true),
            make_ref<StreamEnd>(vnode_, error_, true)};
}

void Console::attach(Process& root) {
    MutexGuard guard(mutex_);
    root_ = root.pid();
}

void Console::state_changed(schema::ConsoleState s, uint8_t code, std::string_view reason) {
    bool over = s == schema::ConsoleState::Exited || s == schema::ConsoleState::Killed;
    {
        MutexGuard guard(mutex_);
        state_ = s;
        code_ = code;
        reason_ = reason;
    }
    if (over && terminal_) out_->end();
    changed();
}

Result<Console::Snapshot> Console::poll(uint64_t out_offset, uint64_t error_offset, size_t most) {
    Snapshot s;
    s.out = TRY(out_->fetch(out_offset, most));
    s.out_end = out_->ended() && out_->drained_past(out_offset + s.out.size());
    if (error_) {
        s.error = TRY(error_->fetch(error_offset, most - s.out.size()));
        s.error_end = error_->ended() && error_->drained_past(error_offset + s.error.size());
    } else {
        s.error_end = true;
    }
    s.input_room = static_cast<uint32_t>(terminal_ ? terminal_->input_room() : input_->room());
    MutexGuard guard(mutex_);
    s.state = state_;
    s.code = code_;
    s.reason = reason_;
    bool over = state_ == schema::ConsoleState::Exited || state_ == schema::ConsoleState::Killed;
    s.ready = !s.out.empty() || !s.error.empty() || over || state_ != reported_;
    reported_ = state_;
    return s;
}

Result<uint64_t> Console::input(uint64_t offset, Bytes data, bool end) {
    uint64_t taken;
    {
        MutexGuard guard(mutex_);
        taken = taken_;
        if (offset > taken) return Fail(Error::Range);
        if (taken - offset >= data.size())
            data = {};
        else
            data = data.subspan(taken - offset);
    }
    // One client at a time feeds a console, in order; two at once would only mix their own bytes.
    bool nobody_reads = input_ && input_->ended();
    size_t n = data.size();
    if (!data.empty() && !nobody_reads)
        n = terminal_ ? terminal_->input(data) : input_->offer(data);
    if (n == data.size() && end && input_) input_->end();
    MutexGuard guard(mutex_);
    return taken_ += n;
}

Result<void> Console::resize(uint16_t rows, uint16_t columns) {
    if (!terminal_) return Fail(Error::NotTty);
    terminal_->set_size({rows, columns, 0, 0});
    return {};
}

Result<void> Console::signal(int signal) {
    if (signal < 1 || signal > kSignalCount) return Fail(Error::InvalidArgument);
    Pid group;
    {
        MutexGuard guard(mutex_);
        group = root_;
    }
    if (terminal_ && terminal_->foreground_group()) group = terminal_->foreground_group();
    MutexGuard guard(vnode_.mutex());
    if (ProcessGroup* g = vnode_.find_group(group)) {
        vnode_.send_to_group(*g, {.number = signal});
        return {};
    }
    Process* p = vnode_.find_process(group);
    if (!p) return Fail(Error::NoProcess);
    vnode_.send(*p, {.number = signal});
    return {};
}

void Console::hang_up() {
    hung_up_ = true;
    if (terminal_) return terminal_->hang_up();
    input_->end();
    out_->end();
    error_->end();
    (void)signal(kSigHup);
    (void)signal(kSigCont);
}

} // namespace tessera::posix
