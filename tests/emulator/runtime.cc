// kernels/cuda/runtime/runtime.h without a device. A stream only collects its operations; they run
// when somebody waits, which reveals a host that reads too early or frees a buffer too early.
#include "kernels/cuda/runtime/runtime.h"

#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/emulator/arena.h"
#include "tests/emulator/emulator.h"

namespace fmaserver::kernels::cuda {

using Operations = std::vector<std::function<void()>>;

class Graph::State {
 public:
  Operations operations;
};

Graph::Graph(std::unique_ptr<State> state) : state_(std::move(state)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;

namespace {

using emulator::DeviceArena;

/// After how many waits the device is lost: FMA_EMULATOR_WAITS, for tests of a lost device.
int64_t WaitsOfALife() {
  static const char* const waits = std::getenv("FMA_EMULATOR_WAITS");
  return waits == nullptr ? INT64_MAX : std::atoll(waits);
}

class EmulatedStream : public Stream {
 public:
  void* handle() override { return this; }

  absl::Status CopyToDevice(void* device, const void* host, int64_t bytes) override {
    return Add([=] {
      DeviceArena::Instance().CheckRange(device, bytes, "copy to the device");
      std::memcpy(device, host, bytes);
      DeviceArena::Instance().MarkWritten(device, bytes);
    });
  }
  absl::Status CopyToHost(void* host, const void* device, int64_t bytes) override {
    return Add([=] {
      DeviceArena::Instance().CheckRange(device, bytes, "copy to the host");
      std::memcpy(host, device, bytes);
      emulator::BytesToHost() += bytes;
    });
  }
  absl::Status CopyOnDevice(void* to, const void* from, int64_t bytes) override {
    return Add([=] {
      DeviceArena::Instance().CheckRange(to, bytes, "copy on the device");
      DeviceArena::Instance().CheckRange(from, bytes, "copy on the device");
      std::memmove(to, from, bytes);
      DeviceArena::Instance().CopyWritten(to, from, bytes);
    });
  }
  absl::Status Fill(void* device, uint8_t byte, int64_t bytes) override {
    return Add([=] {
      DeviceArena::Instance().CheckRange(device, bytes, "fill");
      std::memset(device, byte, bytes);
      DeviceArena::Instance().MarkWritten(device, bytes);
    });
  }

  absl::Status Synchronize() override {
    if (capturing_) return absl::FailedPreconditionError("Synchronize() while capturing");
    if (!waiting_.empty()) ++emulator::Waits();
    if (emulator::Waits() > WaitsOfALife()) {
      return absl::UnavailableError("the emulated device is lost, as FMA_EMULATOR_WAITS says");
    }
    for (const auto& operation : std::exchange(waiting_, {})) operation();
    return absl::OkStatus();
  }

  absl::Status BeginCapture() override {
    if (capturing_) return absl::FailedPreconditionError("BeginCapture() while capturing");
    capturing_ = true;
    captured_.clear();
    return absl::OkStatus();
  }
  absl::StatusOr<Graph> EndCapture() override {
    if (!capturing_) return absl::FailedPreconditionError("EndCapture() without BeginCapture()");
    capturing_ = false;
    auto state = std::make_unique<Graph::State>();
    state->operations = std::exchange(captured_, {});
    return Graph(std::move(state));
  }
  absl::Status Launch(const Graph& graph) override {
    for (const auto& operation : graph.state().operations) {
      if (absl::Status status = Add(operation); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status Add(std::function<void()> operation) {
    (capturing_ ? captured_ : waiting_).push_back(std::move(operation));
    return absl::OkStatus();
  }

 private:
  bool capturing_ = false;
  Operations waiting_;
  Operations captured_;
};

}  // namespace

std::atomic<int64_t>& emulator::Waits() {
  static std::atomic<int64_t> waits = 0;
  return waits;
}

std::atomic<int64_t>& emulator::BytesToHost() {
  static std::atomic<int64_t> bytes = 0;
  return bytes;
}

absl::StatusOr<int> CountDevices() { return 1; }

absl::Status UseDevice(int device) {
  if (device == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("device ", device, "; there is only device 0"));
}

absl::StatusOr<DeviceInfo> DescribeDevice(int device) {
  if (absl::Status status = UseDevice(device); !status.ok()) return status;
  constexpr int64_t kSharedBytes = 99 * 1024;  // the least that sm_80 and later let a block have
  return DeviceInfo{
      "block emulator", 8, 0, DeviceArena::kBytes, DeviceArena::Instance().free_bytes(), 1,
      kSharedBytes};
}

absl::StatusOr<Memory> Memory::Allocate(Kind kind, int64_t bytes) {
  void* data = nullptr;
  if (kind == Kind::kDevice) {
    data = DeviceArena::Instance().Allocate(bytes);
  } else if (bytes <= DeviceArena::kBytes &&
             posix_memalign(&data, DeviceArena::kAlignment, bytes) == 0) {
    std::memset(data, 0xFF, bytes);
  }
  if (data == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes"));
  }
  return Memory(kind, static_cast<std::byte*>(data), bytes);
}

Memory::~Memory() {
  if (data_ == nullptr) return;
  if (kind_ == Kind::kDevice) {
    DeviceArena::Instance().Free(data_);
  } else {
    std::free(data_);
  }
}

absl::StatusOr<MappedMemory> MappedMemory::Map(std::span<std::byte> host) {
  DeviceArena::Instance().Map(host);
  return MappedMemory(host.data(), host.data());
}

MappedMemory::~MappedMemory() {
  if (host_ != nullptr) DeviceArena::Instance().Unmap(host_);
}

absl::StatusOr<std::unique_ptr<Stream>> Stream::Create() {
  return std::make_unique<EmulatedStream>();
}

namespace emulator {

absl::Status Enqueue(Stream& stream, const char* name, int threads, const LaunchShape& shape,
                     std::function<void()> body) {
  return static_cast<EmulatedStream&>(stream).Add(
      [name, threads, shape, body = std::move(body)] { RunLaunch(name, threads, shape, body); });
}

}  // namespace emulator

}  // namespace fmaserver::kernels::cuda
