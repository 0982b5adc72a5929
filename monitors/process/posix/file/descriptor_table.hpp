// DescriptorTable: descriptor number -> open file description and its close-on-exec flag. One per
// process (shared by its threads). Its lock is rank DescriptorTable; Refs leave it before they are
// dropped, because a last drop may talk to a storage monitor.
#pragma once

#include <vector>

#include "monitors/process/posix/file/description.hpp"

namespace tessera::posix {

class DescriptorTable final : public Object {
  public:
    static constexpr int kMost = 1024; // hard limit; the soft one is the caller's rlimit

    explicit DescriptorTable(Vnode& v) : Object(v, ObjectKind::DescriptorTable) {}

    Result<Ref<Description>> get(int fd); // BadHandle
    // The lowest free number >= least. Errors: TooManyFiles.
    Result<int> add(Ref<Description> d, bool close_on_exec, int limit = kMost, int least = 0);
    // dup2/dup3: replaces what was there.
    Result<void> put(int fd, Ref<Description> d, bool close_on_exec, int limit = kMost);
    Result<void> close(int fd);
    Result<bool> close_on_exec(int fd);
    Result<void> set_close_on_exec(int fd, bool on);
    void close_marked(); // exec
    void close_all();    // exit
    void close_range(unsigned first, unsigned last, bool only_mark);
    Ref<DescriptorTable> copy(); // fork
    std::vector<int> numbers();

    void record(Archive& a) override;

  private:
    struct Slot {
        Ref<Description> description;
        bool close_on_exec = false;
    };
    kernel::Mutex mutex_{kernel::LockRank::DescriptorTable};
    std::vector<Slot> slots_;
};

} // namespace tessera::posix
