#include "kernel/drivers/nvme.hpp"

#include "base/log.hpp"

namespace tessera::kernel {

using nvme::AdminOpcode;
using nvme::Command;

namespace {

constexpr uint32_t kLargestTransferBlocks = 256; // 1 MiB; fits one PRP list page
constexpr unsigned kRingEntries = 128;

// Identify Controller (figure 247) and Identify Namespace (figure 245): offsets.
constexpr size_t kSerial = 4, kModel = 24, kMdts = 77;
constexpr size_t kNamespaceSize = 0, kFormatCount = 25, kFormat = 26, kFormats = 128;

void copy_text(Bytes from, char* to) {
    size_t n = from.size();
    while (n > 0 && from[n - 1] == std::byte{' '})
        n--;
    for (size_t i = 0; i < n; i++) {
        auto c = static_cast<char>(from[i]);
        to[i] = c >= 0x20 && c < 0x7f ? c : '?';
    }
    to[n] = 0;
}

} // namespace

Result<Own<Nvme>> Nvme::create(PciFunction function) {
    if (function.class_code() != 0x010802) return Fail(Error::NotFound);
    Own<Nvme> controller(new Nvme(function));
    TRY(controller->start());
    return controller;
}

Nvme::~Nvme() {
    if (!registers_) return;
    if (disable())
        dead_.store(true, std::memory_order_release);
    else
        give_up();
    for (auto& q : queues_)
        q->fail_all();
}

Result<void> Nvme::start() {
    queues_.reserve(kMaxQueues);
    registers_ = TRY(function_.map_bar(0));
    auto msix = MsixTable::open(function_);
    function_.enable_memory_and_dma(true);
    if (msix) msix_ = std::move(*msix);

    uint64_t cap = registers_->read64(nvme::kCap);
    if (cap == UINT64_MAX) return Fail(Error::NoDevice);
    bool nvm_commands = cap >> 37 & 1;
    unsigned least_page = cap >> 48 & 0xf;
    if (!nvm_commands || least_page != 0) return Fail(Error::Unsupported);
    doorbell_stride_ = 4u << (cap >> 32 & 0xf);
    ready_timeout_ = milliseconds(500) * static_cast<int64_t>((cap >> 24 & 0xff) + 1);
    if (ready_timeout_ > seconds(10)) ready_timeout_ = seconds(10);
    largest_ring_ = static_cast<unsigned>(cap & 0xffff) + 1;
    if (largest_ring_ > kRingEntries) largest_ring_ = kRingEntries;
    if (largest_ring_ < 2) return Fail(Error::Malformed);

    admin_submissions_ = TRY(platform_.allocate_dma(kPageSize));
    admin_completions_ = TRY(platform_.allocate_dma(kPageSize));
    scratch_ = TRY(platform_.allocate_dma(kPageSize));
    TRY(disable());
    TRY(enable());
    return identify();
}

Result<void> Nvme::identify() {
    Command c;
    c.prp1 = scratch_.bus().value;
    c.dword10 = 1; // the controller
    TRY(admin(AdminOpcode::Identify, c, kAdminTimeout));
    Bytes data = scratch_.bytes();
    copy_text(data.subspan(kSerial, 20), serial_);
    copy_text(data.subspan(kModel, 40), model_);
    auto mdts = static_cast<unsigned>(data[kMdts]);
    max_transfer_blocks_ = mdts == 0 || mdts >= 8 ? kLargestTransferBlocks : 1u << mdts;

    c.namespace_id = namespace_id_;
    c.dword10 = 0; // the namespace
    TRY(admin(AdminOpcode::Identify, c, kAdminTimeout));
    auto lbas = load<uint64_t>(data.subspan(kNamespaceSize));
    unsigned format = static_cast<unsigned>(data[kFormat]) & 0xf;
    if (lbas == 0) return Fail(Error::NotFound);
    if (format > static_cast<unsigned>(data[kFormatCount])) return Fail(Error::Malformed);
    auto entry = load<uint32_t>(data.subspan(kFormats + 4 * format));
    lba_shift_ = entry >> 16 & 0xff;
    bool metadata = (entry & 0xffff) != 0;
    if (metadata || lba_shift_ < 9 || lba_shift_ > 12) return Fail(Error::Unsupported);
    block_count_ = lbas >> (12 - lba_shift_);
    return set_queue_count();
}

Result<void> Nvme::set_queue_count() {
    Command c;
    c.dword10 = 7; // Number of Queues (section 5.21.1.7); both counts are zero-based
    c.dword11 = (kMaxQueues - 1) << 16 | (kMaxQueues - 1);
    uint32_t granted = TRY(admin(AdminOpcode::SetFeatures, c, kAdminTimeout));
    unsigned submission = (granted & 0xffff) + 1;
    unsigned completion = (granted >> 16) + 1;
    queue_limit_ = submission < completion ? submission : completion;
    if (queue_limit_ > kMaxQueues) queue_limit_ = kMaxQueues;
    return {};
}

Result<NvmeQueue*> Nvme::create_queue(Function<void()> on_interrupt) {
    if (dead()) return Fail(Error::Io);
    if (!try_own_admin()) return Fail(Error::Busy);
    auto make = [&]() -> Result<NvmeQueue*> {
        auto id = static_cast<uint16_t>(queues_.size() + 1);
        uint64_t last_doorbell = nvme::kDoorbells + (2ull * id + 1) * doorbell_stride_;
        if (id > queue_limit_ || last_doorbell + 4 > registers_->size()) return Fail(Error::Full);
        if (on_interrupt && id >= msix_.size()) return Fail(Error::Full);
        Own<NvmeQueue> q(new NvmeQueue(*this, id));
        TRY(q->allocate(platform_, largest_ring_));
        q->on_interrupt_ = std::move(on_interrupt);
        q->epoch_ = epoch_.load(std::memory_order_acquire);
        if (q->on_interrupt_) {
            NvmeQueue* queue = q.get();
            // From here on the queue must live: the vector is never given back.
            queues_.push_back(std::move(q));
            TRY(msix_.assign(id, [queue] {
                queue->interrupts_.fetch_add(1, std::memory_order_relaxed);
                if (queue->interrupts_wanted_.load(std::memory_order_seq_cst))
                    queue->on_interrupt_();
            }));
        } else {
            queues_.push_back(std::move(q));
        }
        TRY(attach(*queues_.back()));
        queues_.back()->attached_ = true;
        return queues_.back().get();
    };
    auto made = make();
    release_admin();
    return made;
}

Result<void> Nvme::attach(NvmeQueue& q) {
    uint32_t size = (q.entries_ - 1u) << 16 | q.id_;
    Command completion;
    completion.prp1 = q.completions_.bus().value;
    completion.dword10 = size;
    completion.dword11 = 1; // physically contiguous
    if (q.on_interrupt_) completion.dword11 |= static_cast<uint32_t>(q.id_) << 16 | 2;
    TRY(admin(AdminOpcode::CreateCompletion, completion, kAdminTimeout));
    Command submission;
    submission.prp1 = q.submissions_.bus().value;
    submission.dword10 = size;
    submission.dword11 = static_cast<uint32_t>(q.id_) << 16 | 1;
    TRY(admin(AdminOpcode::CreateSubmission, submission, kAdminTimeout));
    return {};
}

} // namespace tessera::kernel
