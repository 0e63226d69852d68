#include "tests/support/safetensors_writer.h"

#include <bit>

#include "nlohmann/json.hpp"

namespace fmaserver::testing {
namespace {

void AppendLittleEndian(uint64_t value, int64_t size, std::string& bytes) {
  for (int64_t i = 0; i < size; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
}

/// Drops mantissa bits, which is accurate enough for random weights.
uint16_t HalfBits(uint32_t float_bits) {
  constexpr int kExponentBias = 127 - 15;
  const auto sign = static_cast<uint16_t>(float_bits >> 16 & 0x8000);
  const int exponent = static_cast<int>(float_bits >> 23 & 0xFF) - kExponentBias;
  if (exponent <= 0) return sign;
  return static_cast<uint16_t>(sign | exponent << 10 | (float_bits >> 13 & 0x3FF));
}

}  // namespace

std::string SafetensorsImage(std::string_view header, std::string_view data) {
  std::string image;
  AppendLittleEndian(header.size(), 8, image);
  image += header;
  image += data;
  return image;
}

std::string SafetensorsImage(const std::vector<StoredTensor>& tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const StoredTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", kernels::NameOf(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  return SafetensorsImage(header.dump(), data);
}

void AppendElement(float value, kernels::WeightFormat dtype, std::string& bytes) {
  const auto bits = std::bit_cast<uint32_t>(value);
  switch (dtype) {
    case kernels::WeightFormat::kF32:
      return AppendLittleEndian(bits, 4, bytes);
    case kernels::WeightFormat::kF16:
      return AppendLittleEndian(HalfBits(bits), 2, bytes);
    case kernels::WeightFormat::kBF16:
      return AppendLittleEndian(bits >> 16, 2, bytes);
    case kernels::WeightFormat::kInt8:
    case kernels::WeightFormat::kInt4:
      return;
  }
}

}  // namespace fmaserver::testing
