// A CPU and memory for hosted tests that run real, unmodified binaries: every address space is a
// host process under ptrace, whose system calls (PTRACE_SYSEMU) and faults end run_user. The host
// kernel executes no call of the program itself. One thread of the test does all tracing.
//
// Supplies kernel::arch::run_user and UserContext for the test program that links it.
#pragma once

#include <sys/types.h>

#include <map>
#include <mutex>

#include "monitors/process/posix/address_space.hpp"

namespace tessera::posix::test {

bool tracing_works(); // false where a sandbox forbids ptrace

class TracedSpace final : public AddressSpace {
  public:
    TracedSpace(RemoteFiles& files, VnodeId v, pid_t pid);
    ~TracedSpace() override;
    pid_t pid() const { return pid_; }

    Result<UserAddress> map(const MapRequest& r) override;
    Result<void> unmap(UserAddress address, uint64_t length) override;
    Result<void> protect(UserAddress address, uint64_t length, Protection p) override;
    Result<UserAddress> remap(UserAddress address, uint64_t old_length, uint64_t new_length,
                              bool may_move, bool fixed, UserAddress to) override;
    Result<void> advise(UserAddress address, uint64_t length, Advice a) override;
    Result<void> sync(UserAddress, uint64_t) override { return {}; }
    void set_brk_start(UserAddress start) override { brk_start_ = brk_ = start; }
    UserAddress brk(UserAddress wanted) override;
    Result<Ref<AddressSpace>> fork() override;
    Result<void> fault(UserAddress address, Protection access) override;
    Result<void> read(UserAddress from, MutableBytes to) override;
    Result<void> write(UserAddress to, Bytes from) override;
    Result<std::string> read_string(UserAddress from, size_t most) override;
    Result<uint32_t> load_word(UserAddress a) override;
    Result<bool> compare_exchange_word(UserAddress a, uint32_t& expected,
                                       uint32_t desired) override;
    Result<WordKey> word_key(UserAddress a, bool process_private) override;
    void for_each_mapping(Function<void(const Mapping&)> visit) override;
    MemoryUse use() const override { return {}; }
    void activate() override {}
    void leave() override {}
    void destroy() override;

    static size_t live(); // processes

  private:
    UserAddress choose(uint64_t length);
    void forget(UserAddress start, UserAddress end);

    RemoteFiles& files_;
    VnodeId vnode_;
    pid_t pid_;
    std::mutex mutex_;
    std::map<UserAddress, Mapping> maps_;
    UserAddress brk_start_ = 0, brk_ = 0;
};

class TracedSpaces final : public AddressSpaceFactory {
  public:
    explicit TracedSpaces(RemoteFiles& f) : files_(f) {}
    Result<Ref<AddressSpace>> create(VnodeId v) override;

  private:
    RemoteFiles& files_;
};

} // namespace tessera::posix::test
