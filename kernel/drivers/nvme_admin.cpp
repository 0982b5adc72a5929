// The controller itself: on, off, reset, and its admin queue.
#include "base/log.hpp"
#include "kernel/drivers/nvme.hpp"

namespace tessera::kernel {

using nvme::AdminOpcode;
using nvme::Command;
using nvme::Completion;

namespace {
constexpr uint16_t kAdminEntries = 16;
constexpr Nanos kAbortTimeout = milliseconds(100);
} // namespace

Result<void> Nvme::wait_ready(bool ready) {
    Nanos deadline = platform_.now() + ready_timeout_;
    for (;;) {
        uint32_t status = registers_->read32(nvme::kStatus);
        if (status == UINT32_MAX) return Fail(Error::NoDevice);
        if (static_cast<bool>(status & nvme::kStatusReady) == ready) return {};
        if (ready && (status & nvme::kStatusFatal)) return Fail(Error::Io);
        if (platform_.now() > deadline) return Fail(Error::Timeout);
        platform_.relax();
    }
}

Result<void> Nvme::disable() {
    registers_->write32(nvme::kConfig, nvme::kConfigValue);
    return wait_ready(false);
}

Result<void> Nvme::enable() {
    std::memset(admin_submissions_.data(), 0, admin_submissions_.size());
    std::memset(admin_completions_.data(), 0, admin_completions_.size());
    admin_tail_ = admin_head_ = 0;
    admin_phase_ = true;
    registers_->write32(nvme::kAdminAttributes, (kAdminEntries - 1u) << 16 | (kAdminEntries - 1u));
    registers_->write64(nvme::kAdminSubmission, admin_submissions_.bus().value);
    registers_->write64(nvme::kAdminCompletion, admin_completions_.bus().value);
    registers_->write32(nvme::kConfig, nvme::kConfigValue | nvme::kConfigEnable);
    return wait_ready(true);
}

// One command at a time. A completion of an earlier one that timed out carries an old id and is
// skipped.
Result<uint32_t> Nvme::admin(AdminOpcode opcode, Command command, Nanos timeout) {
    uint16_t id = next_command_++;
    command.dword0 = static_cast<uint32_t>(opcode) | static_cast<uint32_t>(id) << 16;
    std::memcpy(admin_submissions_.data() + sizeof command * admin_tail_, &command, sizeof command);
    admin_tail_ = static_cast<uint16_t>((admin_tail_ + 1) % kAdminEntries);
    ring_submission(0, admin_tail_);

    Nanos deadline = platform_.now() + timeout;
    for (;;) {
        auto* entry = reinterpret_cast<Completion*>(admin_completions_.data()) + admin_head_;
        uint16_t status = __atomic_load_n(&entry->status, __ATOMIC_ACQUIRE);
        if (static_cast<bool>(status & 1) == admin_phase_) {
            uint16_t answered = entry->command_id;
            uint32_t dword0 = entry->dword0;
            admin_head_ = static_cast<uint16_t>((admin_head_ + 1) % kAdminEntries);
            if (admin_head_ == 0) admin_phase_ = !admin_phase_;
            ring_completion(0, admin_head_);
            if (answered == id) {
                TRY(nvme::status_result(status));
                return dword0;
            }
        }
        if (platform_.now() > deadline) return Fail(Error::Timeout);
        platform_.relax();
    }
}

bool Nvme::abort(uint16_t queue, uint16_t command) {
    Command c;
    c.dword10 = static_cast<uint32_t>(command) << 16 | queue;
    // Best effort: the command itself completes as aborted, or the reset follows.
    auto answer = admin(AdminOpcode::Abort, c, kAbortTimeout);
    LOG(Warning, "nvme", "command %u of queue %u timed out; abort %s", command, queue,
        answer ? "sent" : "not answered");
    return answer.has_value();
}

void Nvme::reset() {
    LOG(Warning, "nvme", "%s %s does not answer: controller reset", model_, serial_);
    if (!disable()) return give_up();
    // No DMA from here on: queues that see the new epoch may give their buffers back.
    epoch_.fetch_add(1, std::memory_order_release);
    if (!enable() || !set_queue_count()) give_up();
}

void Nvme::give_up() {
    function_.enable_memory_and_dma(false);
    dead_.store(true, std::memory_order_release);
    LOG(Failure, "nvme", "%s %s is given up: every request fails", model_, serial_);
}

void Nvme::ring_submission(uint16_t queue, uint16_t tail) {
    std::atomic_thread_fence(std::memory_order_release);
    registers_->write32(nvme::kDoorbells + 2ull * queue * doorbell_stride_, tail);
}

void Nvme::ring_completion(uint16_t queue, uint16_t head) {
    registers_->write32(nvme::kDoorbells + (2ull * queue + 1) * doorbell_stride_, head);
}

} // namespace tessera::kernel
