#include "monitors/process/posix/signal/frame.hpp"

namespace tessera::posix {
namespace {

struct SignalContext { // struct sigcontext
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip,
        rflags;
    uint16_t cs, gs, fs, ss;
    uint64_t error, trap, old_mask, cr2, fpu;
    uint64_t reserved[8];
};
static_assert(sizeof(SignalContext) == 256);

struct Frame {
    uint64_t return_address;
    uint64_t flags, link; // ucontext
    uint64_t stack_base;
    uint32_t stack_flags, pad;
    uint64_t stack_size;
    SignalContext context;
    SignalSet mask;
    std::array<std::byte, 128> info;
};
static_assert(sizeof(Frame) == 8 + 16 + 24 + 256 + 8 + 128);

constexpr uint64_t kUserFlags = 0x240dd5; // what a program may set: arithmetic, TF, DF, AC, ID
constexpr size_t kRedZone = 128, kFpuBytes = 512;
constexpr uint32_t kOnStack = 1, kDisable = 2, kAutoDisarm = 0x8000'0000u;

bool on_alternate(const Task& t, uint64_t rsp) {
    return !(t.alternate.flags & kDisable) && rsp > t.alternate.base &&
           rsp - t.alternate.base <= t.alternate.size;
}

} // namespace

std::array<std::byte, 128> encode_siginfo(const SignalInfo& i) {
    std::array<std::byte, 128> b{};
    MutableBytes out(b);
    store(out, i.number);
    store(out.subspan(8), i.code);
    bool fault = i.code > 0 && i.code < kSiKernel && (kFaultSignals & signal_bit(i.number)) &&
                 i.number != kSigChild;
    if (fault) {
        store(out.subspan(16), i.address);
        return b;
    }
    store(out.subspan(16), i.pid);
    store(out.subspan(20), i.uid);
    if (i.number == kSigChild)
        store(out.subspan(24), i.status);
    else
        store(out.subspan(24), i.value);
    return b;
}

Result<void> push_frame(Task& t, const SignalInfo& info, const SignalAction& action,
                        SignalSet blocked) {
    auto& r = t.context.registers;
    uint64_t sp = r.rsp - kRedZone;
    bool alternate = on_alternate(t, r.rsp);
    if ((action.flags & kSaOnStack) && !(t.alternate.flags & kDisable) && !alternate)
        sp = t.alternate.base + t.alternate.size;
    uint64_t fpu_at = align_down(sp - kFpuBytes, 64);
    uint64_t at = align_down(fpu_at - sizeof(Frame), 16) - 8; // (rsp + 8) % 16 == 0 at the handler
    if (at > kUserEnd || !(action.flags & kSaRestorer)) return Fail(Error::BadAddress);

    Frame f{};
    f.return_address = action.restorer;
    f.flags = 0x6; // UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
    f.stack_base = t.alternate.base;
    f.stack_size = t.alternate.size;
    f.stack_flags = t.alternate.flags | (alternate ? kOnStack : 0);
    f.context = {r.r8,  r.r9,  r.r10, r.r11, r.r12,   r.r13,        r.r14,  r.r15,    r.rdi, r.rsi,
                 r.rbp, r.rbx, r.rdx, r.rax, r.rcx,   r.rsp,        r.rip,  r.rflags, 0x33,  0,
                 0,     0x2b,  0,     0,     blocked, info.address, fpu_at, {}};
    f.mask = blocked;
    f.info = encode_siginfo(info);
    TRY(t.space().write(fpu_at, t.context.fpu()));
    TRY(t.space().write(at, bytes_of(f)));
    if (t.alternate.flags & kAutoDisarm) t.alternate = {};
    r.rsp = at;
    r.rip = action.handler;
    r.rdi = static_cast<uint64_t>(info.number);
    r.rsi = at + offsetof(Frame, info);
    r.rdx = at + offsetof(Frame, flags);
    r.rax = 0;
    r.rflags &= ~0x10500ull; // TF, DF, RF
    return {};
}

Result<void> pop_frame(Task& t, SignalSet& blocked) {
    auto& r = t.context.registers;
    Frame f;
    TRY(t.space().read(r.rsp - 8, mutable_bytes_of(f)));
    const SignalContext& c = f.context;
    if (c.rip >= kUserEnd) return Fail(Error::BadAddress);
    if (c.fpu) {
        std::array<std::byte, kFpuBytes> image;
        TRY(t.space().read(c.fpu, image));
        // Reserved MXCSR bits would fault the kernel's FXRSTOR.
        uint32_t mxcsr = load<uint32_t>(Bytes(image).subspan(24)) & 0xffff;
        store(MutableBytes(image).subspan(24), mxcsr);
        std::memcpy(t.context.fpu().data(), image.data(), kFpuBytes);
    } else {
        t.context.reset_fpu();
    }
    uint64_t fs = r.fs_base, gs = r.gs_base;
    r = {c.rax,
         c.rbx,
         c.rcx,
         c.rdx,
         c.rsi,
         c.rdi,
         c.rbp,
         c.r8,
         c.r9,
         c.r10,
         c.r11,
         c.r12,
         c.r13,
         c.r14,
         c.r15,
         c.rip,
         (c.rflags & kUserFlags) | 0x202,
         c.rsp,
         fs,
         gs};
    blocked = f.mask;
    if (!(f.stack_flags & kOnStack))
        t.alternate = {f.stack_base, f.stack_size, f.stack_flags & ~kOnStack};
    return {};
}

} // namespace tessera::posix
