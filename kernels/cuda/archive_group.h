// A group of an archive: its tokens in the host's memory, its sketches in the device's.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

class DeviceArchiveGroup : public ArchiveGroup {
 public:
  DeviceArchiveGroup(std::span<std::byte> host, MappedMemory mapped, Memory of_sketches)
      : mapped_(std::move(mapped)), sketches_(std::move(of_sketches)) {
    tokens = host.data();
  }

  DeviceGroup view() const { return {mapped_.data(), sketches_.data()}; }

 private:
  MappedMemory mapped_;
  Memory sketches_;
};

}  // namespace fmaserver::kernels::cuda
