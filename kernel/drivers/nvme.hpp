// NVMe (PCI class 01:08:02; NVM Express Base 1.4): one controller, its first namespace, and a queue
// pair per client.
//
// Nvme is created once at start. Each client (a shard) asks for an NvmeQueue and owns it: submit(),
// poll() and done() happen in that shard only; queues do not share anything but the controller's
// admin queue, whose rare users take turns by a flag and come back later when it is taken (nobody
// waits for it).
//
// Buffers: any kernel memory whose pages Platform::bus_address translates, start aligned to 4
// bytes, in multiples of 4 KiB; a buffer that is not page-aligned costs one PRP entry more. Data is
// never copied.
//
// Never hangs: a command has kCommandTimeout; then it is aborted; kAbortGrace later the controller
// is reset, every command in flight on every queue fails with Io, and the queues are made again. If
// the reset fails too, DMA is cut at the PCI function, the controller is dead and every request
// fails with Io. While requests are in flight the owner calls poll() at next_deadline() at the
// latest.
//
// Errors in done(): Range (outside the namespace), BadAddress (buffer not translatable), Io (all
// else the device says).
#pragma once

#include <atomic>
#include <vector>

#include "kernel/drivers/nvme_protocol.hpp"
#include "kernel/drivers/pci.hpp"
#include "monitors/env/block_device.hpp"

namespace tessera::kernel {

class Nvme;

struct NvmeCounters {
    uint64_t reads = 0;
    uint64_t writes = 0;
    uint64_t flushes = 0;
    uint64_t errors = 0;   // requests that ended with an Error
    uint64_t timeouts = 0; // commands that were aborted
    uint64_t interrupts = 0;
    uint64_t device_errors = 0; // completions that name no command in flight
};

class NvmeQueue final : public env::BlockDevice {
  public:
    Result<void> submit(env::BlockRequest& request) override;
    uint64_t block_count() const override;
    uint32_t max_transfer_blocks() const override;
    uint32_t queue_depth() const override { return static_cast<uint32_t>(slots_.size()); }

    // Completes finished requests (done() is called from here) and enforces deadlines. Returns how
    // many.
    unsigned poll();
    unsigned in_flight() const { return in_flight_; }
    // When poll() must be called at the latest; kNever when nothing is in flight.
    Nanos next_deadline() const;

    // Hybrid polling, as in virtio_net.hpp. MSI-X entries are masked through the completion queue's
    // own head doorbell order, so an interrupt that comes early only costs a wake-up.
    void disable_interrupts() { interrupts_wanted_.store(false, std::memory_order_relaxed); }
    bool enable_interrupts_and_check();

    NvmeCounters counters() const;
    ~NvmeQueue();
    NvmeQueue(const NvmeQueue&) = delete;
    NvmeQueue& operator=(const NvmeQueue&) = delete;

    static constexpr unsigned kDepth = 64; // requests in flight, at most (bits of a uint64_t)

  private:
    friend class Nvme;
    struct Slot {
        Function<void(Result<void>), 64> done;
        Nanos deadline;
        bool busy = false;
        bool aborted = false;
    };

    NvmeQueue(Nvme& controller, uint16_t id) : controller_(controller), id_(id) {}
    Result<void> allocate(Platform& platform, unsigned entries);
    void clear_rings();
    Result<void> build(const env::BlockRequest& request, unsigned slot, nvme::Command& command);
    void post(const nvme::Command& command);
    void complete(unsigned slot, Result<void> result);
    unsigned fail_all();
    unsigned take_completions();
    unsigned enforce_deadlines();
    // Brings the queue to the controller's epoch; true if it can be used.
    bool usable(unsigned& failed);
    bool completion_ready() const;
    nvme::Completion* completion(unsigned i) const {
        return reinterpret_cast<nvme::Completion*>(completions_.data()) + i;
    }

    Nvme& controller_;
    uint16_t id_;
    uint32_t epoch_ = 0; // of the controller when the queue was last made
    bool attached_ = false;
    uint16_t entries_ = 0; // of both rings
    DmaMemory submissions_;
    DmaMemory completions_;
    DmaMemory lists_; // one PRP list page per slot
    std::vector<Slot> slots_;
    std::vector<uint16_t> free_;
    uint16_t tail_ = 0;
    uint16_t head_ = 0;
    bool phase_ = true;
    unsigned in_flight_ = 0;
    Nanos next_check_ = kNever; // not later than the oldest deadline in flight
    Function<void()> on_interrupt_;
    std::atomic<bool> interrupts_wanted_{false};
    std::atomic<uint64_t> interrupts_{0};
    NvmeCounters counters_;
};

class Nvme {
  public:
    // Error: NotFound, Malformed, Unsupported (page or block size, metadata), NoMemory, Timeout,
    // Io.
    static Result<Own<Nvme>> create(PciFunction function);
    ~Nvme(); // all queues are idle; stops the controller
    Nvme(const Nvme&) = delete;
    Nvme& operator=(const Nvme&) = delete;

    // A new queue pair; it lives as long as the controller. `on_interrupt` runs in interrupt
    // context. Error: Full (no more queues or vectors), NoMemory, Io, Busy.
    Result<NvmeQueue*> create_queue(Function<void()> on_interrupt);

    uint64_t block_count() const { return block_count_; }
    uint32_t max_transfer_blocks() const { return max_transfer_blocks_; }
    uint32_t lba_size() const { return 1u << lba_shift_; }
    const char* model() const { return model_; }
    const char* serial() const { return serial_; }
    bool dead() const { return dead_.load(std::memory_order_relaxed); }
    uint32_t resets() const { return epoch_.load(std::memory_order_relaxed) - 1; }

    static constexpr Nanos kCommandTimeout = seconds(5);
    static constexpr Nanos kAbortGrace = seconds(1);
    static constexpr Nanos kAdminTimeout = seconds(3);
    static constexpr unsigned kMaxQueues = 16;

  private:
    friend class NvmeQueue;
    explicit Nvme(PciFunction function) : function_(function), platform_(function.platform()) {}

    Result<void> start();
    Result<void> identify();
    Result<void> enable();
    Result<void> disable();
    Result<void> wait_ready(bool ready);
    // The rest with the admin queue owned.
    Result<uint32_t> admin(nvme::AdminOpcode opcode, nvme::Command command,
                           Nanos timeout); // dword 0
    Result<void> set_queue_count();
    Result<void> attach(NvmeQueue& q);            // creates its CQ and SQ on the controller
    bool abort(uint16_t queue, uint16_t command); // whether the controller answered
    void reset();
    void give_up(); // cuts DMA; every queue fails what it has
    void ring_submission(uint16_t queue, uint16_t tail);
    void ring_completion(uint16_t queue, uint16_t head);
    bool try_own_admin() { return !admin_busy_.exchange(true, std::memory_order_acquire); }
    void release_admin() { admin_busy_.store(false, std::memory_order_release); }

    PciFunction function_;
    Platform& platform_;
    Own<Registers> registers_;
    MsixTable msix_;
    std::atomic<bool> admin_busy_{false};
    std::atomic<bool> dead_{false};
    std::atomic<uint32_t> epoch_{1}; // rises with every reset
    DmaMemory admin_submissions_;
    DmaMemory admin_completions_;
    DmaMemory scratch_; // for Identify; kept, as a late answer may still land in it
    uint16_t admin_tail_ = 0;
    uint16_t admin_head_ = 0;
    bool admin_phase_ = true;
    uint16_t next_command_ = 0;
    unsigned doorbell_stride_ = 4;
    Nanos ready_timeout_;
    unsigned lba_shift_ = 9;
    uint32_t namespace_id_ = 1;
    uint64_t block_count_ = 0;
    uint32_t max_transfer_blocks_ = 0;
    unsigned queue_limit_ = 1;
    unsigned largest_ring_ = 2;
    char model_[41] = {};
    char serial_[21] = {};
    std::vector<Own<NvmeQueue>> queues_;
};

} // namespace tessera::kernel
