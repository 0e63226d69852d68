// kernels/cuda/runtime/runtime.h over the CUDA runtime.
#include "kernels/cuda/runtime/runtime.h"

#include <cuda_runtime.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {
namespace {

absl::Status ToStatus(const std::string& what, cudaError_t error) {
  if (error == cudaSuccess) return absl::OkStatus();
  const std::string message =
      absl::StrCat(what, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")");
  cudaGetLastError();  // clears an error that is not sticky
  if (error == cudaErrorMemoryAllocation) return absl::ResourceExhaustedError(message);
  return absl::UnavailableError(message);
}

}  // namespace

absl::Status LaunchError(const char* name, cudaError_t error) {
  return ToStatus(absl::StrCat("launch of kernel ", name), error);
}

class Graph::State {
 public:
  explicit State(cudaGraphExec_t graph) : executable(graph) {}
  ~State() { cudaGraphExecDestroy(executable); }

  const cudaGraphExec_t executable;
};

Graph::Graph(std::unique_ptr<State> state) : state_(std::move(state)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;

namespace {

class CudaStream : public Stream {
 public:
  explicit CudaStream(cudaStream_t stream) : stream_(stream) {}
  ~CudaStream() override { cudaStreamDestroy(stream_); }

  void* handle() override { return stream_; }

  absl::Status CopyToDevice(void* device, const void* host, int64_t bytes) override {
    return Copy("copy to the device", device, host, bytes, cudaMemcpyHostToDevice);
  }
  absl::Status CopyToHost(void* host, const void* device, int64_t bytes) override {
    return Copy("copy to the host", host, device, bytes, cudaMemcpyDeviceToHost);
  }
  absl::Status CopyOnDevice(void* to, const void* from, int64_t bytes) override {
    return Copy("copy on the device", to, from, bytes, cudaMemcpyDeviceToDevice);
  }
  absl::Status Fill(void* device, uint8_t byte, int64_t bytes) override {
    return ToStatus(absl::StrCat("fill of ", bytes, " bytes"),
                    cudaMemsetAsync(device, byte, bytes, stream_));
  }
  absl::Status Synchronize() override {
    return ToStatus("waiting for the device", cudaStreamSynchronize(stream_));
  }

  absl::Status BeginCapture() override {
    return ToStatus("begin of a graph",
                    cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  }
  absl::StatusOr<Graph> EndCapture() override {
    cudaGraph_t graph = nullptr;
    const absl::Status ended = ToStatus("end of a graph", cudaStreamEndCapture(stream_, &graph));
    if (!ended.ok()) return ended;
    cudaGraphExec_t executable = nullptr;
    const absl::Status built =
        ToStatus("building of a graph", cudaGraphInstantiate(&executable, graph, 0));
    cudaGraphDestroy(graph);
    if (!built.ok()) return built;
    return Graph(std::make_unique<Graph::State>(executable));
  }
  absl::Status Launch(const Graph& graph) override {
    return ToStatus("launch of a graph", cudaGraphLaunch(graph.state().executable, stream_));
  }

 private:
  absl::Status Copy(const char* what, void* to, const void* from, int64_t bytes,
                    cudaMemcpyKind kind) {
    return ToStatus(absl::StrCat(what, " of ", bytes, " bytes"),
                    cudaMemcpyAsync(to, from, bytes, kind, stream_));
  }

  const cudaStream_t stream_;
};

}  // namespace

absl::StatusOr<int> CountDevices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice) {
    cudaGetLastError();
    return 0;
  }
  if (error == cudaErrorInsufficientDriver) {  // also without any driver
    return absl::UnavailableError("there is no NVIDIA driver that knows CUDA 13");
  }
  if (error != cudaSuccess) return ToStatus("looking for CUDA devices", error);
  return count;
}

absl::Status UseDevice(int device) {
  return ToStatus(absl::StrCat("use of CUDA device ", device), cudaSetDevice(device));
}

absl::StatusOr<DeviceInfo> DescribeDevice(int device) {
  cudaDeviceProp properties = {};
  const std::string what = absl::StrCat("description of CUDA device ", device);
  absl::Status status = ToStatus(what, cudaGetDeviceProperties(&properties, device));
  if (!status.ok()) return status;
  if (status = UseDevice(device); !status.ok()) return status;
  size_t free = 0;
  size_t total = 0;
  if (status = ToStatus(what, cudaMemGetInfo(&free, &total)); !status.ok()) return status;
  return DeviceInfo{properties.name,
                    properties.major,
                    properties.minor,
                    static_cast<int64_t>(total),
                    static_cast<int64_t>(free),
                    properties.multiProcessorCount,
                    static_cast<int64_t>(properties.sharedMemPerBlockOptin)};
}

absl::StatusOr<Memory> Memory::Allocate(Kind kind, int64_t bytes) {
  void* data = nullptr;
  const cudaError_t error =
      kind == Kind::kDevice ? cudaMalloc(&data, bytes) : cudaMallocHost(&data, bytes);
  if (error != cudaSuccess) {
    const char* where =
        kind == Kind::kDevice ? " bytes of device memory" : " bytes of pinned memory";
    return ToStatus(absl::StrCat("allocation of ", bytes, where), error);
  }
  return Memory(kind, static_cast<std::byte*>(data), bytes);
}

Memory::~Memory() {
  if (data_ == nullptr) return;
  if (kind_ == Kind::kDevice) {
    cudaFree(data_);
  } else {
    cudaFreeHost(data_);
  }
}

absl::StatusOr<MappedMemory> MappedMemory::Map(std::span<std::byte> host) {
  const std::string what = absl::StrCat("mapping of ", host.size(), " bytes of host memory");
  absl::Status status =
      ToStatus(what, cudaHostRegister(host.data(), host.size(),
                                      cudaHostRegisterMapped | cudaHostRegisterPortable));
  if (!status.ok()) return status;
  void* data = nullptr;
  status = ToStatus(what, cudaHostGetDevicePointer(&data, host.data(), 0));
  if (!status.ok()) {
    cudaHostUnregister(host.data());
    return status;
  }
  return MappedMemory(host.data(), static_cast<std::byte*>(data));
}

MappedMemory::~MappedMemory() {
  if (host_ != nullptr) cudaHostUnregister(host_);
}

absl::StatusOr<std::unique_ptr<Stream>> Stream::Create() {
  cudaStream_t stream = nullptr;
  absl::Status status =
      ToStatus("creation of a stream", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  if (!status.ok()) return status;
  return std::make_unique<CudaStream>(stream);
}

}  // namespace fmaserver::kernels::cuda
