#include "base/assert.hpp"
#include "base/log.hpp"
#include "kernel/drivers/nvme.hpp"

namespace tessera::kernel {

using nvme::Command;
using nvme::Completion;

namespace {
constexpr Nanos kRetryDelay = milliseconds(10);
} // namespace

Result<void> NvmeQueue::allocate(Platform& platform, unsigned entries) {
    entries_ = static_cast<uint16_t>(entries);
    // A ring with one free entry is full.
    unsigned depth = entries - 1 < kDepth ? entries - 1 : kDepth;
    submissions_ = TRY(platform.allocate_dma(entries * sizeof(Command)));
    completions_ = TRY(platform.allocate_dma(entries * sizeof(Completion)));
    lists_ = TRY(platform.allocate_dma(depth * kPageSize));
    slots_.resize(depth);
    free_.reserve(depth);
    for (unsigned i = depth; i > 0; i--)
        free_.push_back(static_cast<uint16_t>(i - 1));
    return {};
}

NvmeQueue::~NvmeQueue() {
    ASSERT(in_flight_ == 0);
}

uint64_t NvmeQueue::block_count() const {
    return controller_.block_count();
}

uint32_t NvmeQueue::max_transfer_blocks() const {
    return controller_.max_transfer_blocks();
}

void NvmeQueue::clear_rings() {
    std::memset(submissions_.data(), 0, submissions_.size());
    std::memset(completions_.data(), 0, completions_.size());
    tail_ = head_ = 0;
    phase_ = true;
}

Result<void> NvmeQueue::submit(env::BlockRequest& request) {
    unsigned failed = 0;
    bool ready = usable(failed);
    if (!ready && !controller_.dead()) return Fail(Error::Full); // being made again
    if (ready && free_.empty()) return Fail(Error::Full);

    Command command;
    unsigned slot = ready ? free_.back() : 0;
    Result<void> built = ready ? build(request, slot, command) : Fail(Error::Io);
    if (!built) {
        counters_.errors++;
        auto done = std::move(request.done);
        done(built);
        return {};
    }
    free_.pop_back();
    Slot& s = slots_[slot];
    s.done = std::move(request.done);
    s.deadline = controller_.platform_.now() + Nvme::kCommandTimeout;
    s.busy = true;
    s.aborted = false;
    if (in_flight_++ == 0) next_check_ = s.deadline;
    post(command);
    return {};
}

Result<void> NvmeQueue::build(const env::BlockRequest& request, unsigned slot, Command& command) {
    using env::BlockOp;
    nvme::IoOpcode opcode = nvme::IoOpcode::Flush;
    if (request.op != BlockOp::Flush) {
        size_t size = request.buffer.size();
        uint64_t blocks = size / env::kBlockSize;
        if (size == 0 || size % env::kBlockSize != 0) return Fail(Error::InvalidArgument);
        if (blocks > max_transfer_blocks()) return Fail(Error::TooBig);
        if (request.block >= block_count() || blocks > block_count() - request.block)
            return Fail(Error::Range);
        std::span<uint64_t> list(reinterpret_cast<uint64_t*>(lists_.data() + slot * kPageSize),
                                 nvme::kListEntries);
        TRY(nvme::build_prp(controller_.platform_, request.buffer, command, list,
                            lists_.bus_at(slot * kPageSize)));
        unsigned shift = 12 - controller_.lba_shift_;
        uint64_t lba = request.block << shift;
        command.dword10 = static_cast<uint32_t>(lba);
        command.dword11 = static_cast<uint32_t>(lba >> 32);
        command.dword12 = static_cast<uint32_t>((blocks << shift) - 1);
        bool write = request.op == BlockOp::Write;
        opcode = write ? nvme::IoOpcode::Write : nvme::IoOpcode::Read;
        if (write && request.fua) command.dword12 |= nvme::kForceUnitAccess;
        (write ? counters_.writes : counters_.reads)++;
    } else {
        counters_.flushes++;
    }
    command.namespace_id = controller_.namespace_id_;
    command.dword0 = static_cast<uint32_t>(opcode) | slot << 16;
    return {};
}

void NvmeQueue::post(const Command& command) {
    std::memcpy(submissions_.data() + sizeof command * tail_, &command, sizeof command);
    tail_ = static_cast<uint16_t>((tail_ + 1) % entries_);
    controller_.ring_submission(id_, tail_);
}

bool NvmeQueue::completion_ready() const {
    return static_cast<bool>(__atomic_load_n(&completion(head_)->status, __ATOMIC_ACQUIRE) & 1) ==
           phase_;
}

unsigned NvmeQueue::poll() {
    unsigned finished = 0;
    if (!usable(finished)) return finished;
    if (in_flight_ == 0 && !completion_ready()) return finished;
    finished += take_completions();
    if (in_flight_ > 0 && controller_.platform_.now() >= next_check_)
        finished += enforce_deadlines();
    return finished;
}

// One turn of the ring at most, so that a device that completes without end does not hold the
// shard.
unsigned NvmeQueue::take_completions() {
    unsigned finished = 0;
    unsigned taken = 0;
    uint32_t epoch = epoch_;
    while (taken < entries_ && completion_ready()) {
        Completion entry = *completion(head_);
        head_ = static_cast<uint16_t>((head_ + 1) % entries_);
        if (head_ == 0) phase_ = !phase_;
        taken++;
        if (entry.command_id >= slots_.size() || !slots_[entry.command_id].busy) {
            counters_.device_errors++;
            continue;
        }
        // Told before done() runs, which may submit again and so re-make the queue after a reset.
        finished++;
        complete(entry.command_id, nvme::status_result(entry.status));
        if (epoch_ != epoch) return finished; // the rings were made anew under us
    }
    if (taken > 0) controller_.ring_completion(id_, head_);
    return finished;
}

void NvmeQueue::complete(unsigned slot, Result<void> result) {
    Slot& s = slots_[slot];
    auto done = std::move(s.done);
    s.busy = false;
    free_.push_back(static_cast<uint16_t>(slot));
    in_flight_--;
    if (!result) counters_.errors++;
    done(result);
}

unsigned NvmeQueue::fail_all() {
    // Requests that done() submits anew are not among them.
    uint64_t busy = 0;
    for (unsigned i = 0; i < slots_.size(); i++)
        busy |= static_cast<uint64_t>(slots_[i].busy) << i;
    unsigned failed = 0;
    for (unsigned i = 0; i < slots_.size(); i++) {
        if (!(busy >> i & 1)) continue;
        failed++;
        complete(i, Fail(Error::Io));
    }
    return failed;
}

bool NvmeQueue::usable(unsigned& failed) {
    if (controller_.dead_.load(std::memory_order_acquire)) {
        failed += fail_all();
        return false;
    }
    uint32_t epoch = controller_.epoch_.load(std::memory_order_acquire);
    if (epoch_ != epoch) {
        // The controller has been reset: it does not know this queue and does not touch its memory.
        epoch_ = epoch;
        attached_ = false;
        clear_rings();
        failed += fail_all();
    }
    if (attached_) return true;
    if (!controller_.try_own_admin()) return false;
    bool current =
        controller_.epoch_.load(std::memory_order_acquire) == epoch_ && !controller_.dead();
    if (current) {
        attached_ = controller_.attach(*this).has_value();
        if (!attached_) controller_.give_up();
    }
    controller_.release_admin();
    return attached_ && current;
}

unsigned NvmeQueue::enforce_deadlines() {
    Nanos now = controller_.platform_.now();
    Nanos next = kNever;
    bool answering = true; // one unanswered abort is enough to wait for
    for (unsigned i = 0; i < slots_.size(); i++) {
        Slot& s = slots_[i];
        if (!s.busy) continue;
        if (s.deadline <= now) {
            if (!controller_.try_own_admin()) {
                next = now + kRetryDelay;
                break;
            }
            if (s.aborted) {
                controller_.reset();
                controller_.release_admin();
                unsigned failed = 0;
                usable(failed);
                return failed;
            }
            counters_.timeouts++;
            s.aborted = true;
            s.deadline = now + Nvme::kAbortGrace;
            if (answering) answering = controller_.abort(id_, static_cast<uint16_t>(i));
            controller_.release_admin();
        }
        if (s.deadline < next) next = s.deadline;
    }
    next_check_ = next;
    return 0;
}

Nanos NvmeQueue::next_deadline() const {
    if (in_flight_ > 0) return next_check_;
    return attached_ ? kNever : controller_.platform_.now() + kRetryDelay;
}

bool NvmeQueue::enable_interrupts_and_check() {
    interrupts_wanted_.store(true, std::memory_order_seq_cst);
    return completion_ready();
}

NvmeCounters NvmeQueue::counters() const {
    NvmeCounters c = counters_;
    c.interrupts = interrupts_.load(std::memory_order_relaxed);
    return c;
}

} // namespace tessera::kernel
