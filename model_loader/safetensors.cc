#include "model_loader/safetensors.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "base/json.h"
#include "base/refusal.h"
#include "base/text.h"
#include "model_loader/lfs_pointer.h"

namespace fmaserver::model {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

/// A tensor and where its bytes are in the data section: [begin, end).
struct Entry {
  std::string name;
  TensorView view;
  int64_t begin = 0;
  int64_t end = 0;
};

/// Refuses a part of one tensor of one file. `found` is what the message shows.
class TensorRefusal {
 public:
  TensorRefusal(std::string_view origin, std::string_view tensor)
      : where_(At(origin, Concat("tensor ", Quoted(tensor)))) {}

  absl::Status operator()(std::string_view what, std::string found,
                          std::string_view allowed) const {
    return Refusal(At(where_, what), Words{std::move(found)}, allowed);
  }

 private:
  std::string where_;
};

absl::StatusOr<std::string_view> HeaderText(std::span<const std::byte> bytes,
                                            std::string_view origin) {
  if (bytes.size() < kLengthBytes) {
    return Refusal(At(origin, "size"), Words{Concat(bytes.size(), " bytes")},
                   Concat("at least ", kLengthBytes));
  }
  uint64_t length = 0;
  for (uint64_t i = kLengthBytes; i-- > 0;)
    length = length << 8 | std::to_integer<uint64_t>(bytes[i]);
  const uint64_t allowed = std::min<uint64_t>(bytes.size() - kLengthBytes, kMaxHeaderBytes);
  if (length > allowed) {
    return Refusal(At(origin, "header length"), length,
                   Concat("at most ", allowed, " in a file of ", bytes.size(), " bytes"));
  }
  return std::string_view(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
}

absl::Status CheckMetadata(const json& metadata, std::string_view origin) {
  const bool is_map =
      metadata.is_object() && std::all_of(metadata.begin(), metadata.end(),
                                          [](const json& value) { return value.is_string(); });
  if (is_map) return absl::OkStatus();
  return Refusal(At(origin, "\"__metadata__\""), Words{Excerpt(metadata)}, "an object of strings");
}

std::optional<kernels::WeightFormat> DTypeOf(const json& name) {
  using enum kernels::WeightFormat;
  for (const kernels::WeightFormat dtype : {kF32, kF16, kBF16, kInt8, kInt4}) {
    if (name == kernels::NameOf(dtype)) return dtype;
  }
  return std::nullopt;
}

/// The bytes of a tensor, or nothing when their number does not fit into int64.
std::optional<int64_t> ByteSize(const TensorView& view) {
  int64_t bytes = kernels::SizeOf(view.dtype);
  for (const int64_t extent : view.shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return bytes;
}

absl::Status ReadShape(const json& shape, const TensorRefusal& refuse,
                       std::vector<int64_t>& extents) {
  constexpr std::string_view kAllowed = "a list of integers above 0";
  if (!shape.is_array()) return refuse("shape", Excerpt(shape), kAllowed);
  for (const json& item : shape) {
    const std::optional<int64_t> extent = AsInteger(item);
    if (!extent.has_value() || *extent < 1) return refuse("shape", Excerpt(shape), kAllowed);
    extents.push_back(*extent);
  }
  return absl::OkStatus();
}

absl::Status ReadOffsets(const json& offsets, int64_t data_bytes, const TensorRefusal& refuse,
                         Entry& entry) {
  const std::string allowed = Concat("[begin, end] with 0 <= begin <= end <= ", data_bytes,
                                     ", the bytes behind the header");
  if (!offsets.is_array() || offsets.size() != 2) {
    return refuse("data_offsets", Excerpt(offsets), allowed);
  }
  const std::optional<int64_t> begin = AsInteger(offsets[0]);
  const std::optional<int64_t> end = AsInteger(offsets[1]);
  const bool valid =
      begin.has_value() && end.has_value() && *begin >= 0 && *begin <= *end && *end <= data_bytes;
  if (!valid) return refuse("data_offsets", Excerpt(offsets), allowed);
  entry.begin = *begin;
  entry.end = *end;
  return absl::OkStatus();
}

absl::StatusOr<Entry> ReadEntry(const std::string& name, const json& fields, int64_t data_bytes,
                                std::string_view origin) {
  const TensorRefusal refuse(origin, name);
  const auto has = [&fields](const char* key) { return fields.contains(key); };
  if (!fields.is_object() || fields.size() != 3 || !has("dtype") || !has("shape") ||
      !has("data_offsets")) {
    return refuse("entry", Excerpt(fields), "an object of dtype, shape and data_offsets");
  }

  Entry entry{.name = name, .view = {}};
  const std::optional<kernels::WeightFormat> dtype = DTypeOf(fields["dtype"]);
  if (!dtype.has_value()) {
    return refuse("dtype", Excerpt(fields["dtype"]), "F32, F16, BF16, I8, U8");
  }
  entry.view.dtype = *dtype;

  absl::Status status = ReadShape(fields["shape"], refuse, entry.view.shape);
  if (status.ok()) status = ReadOffsets(fields["data_offsets"], data_bytes, refuse, entry);
  if (!status.ok()) return status;

  const std::optional<int64_t> size = ByteSize(entry.view);
  if (!size.has_value()) {
    return refuse("shape", Excerpt(fields["shape"]), "a size in bytes below 2^63");
  }
  if (*size != entry.end - entry.begin) {
    return refuse(
        "size of data_offsets", Concat(entry.end - entry.begin),
        Concat(*size, " (shape ", Excerpt(fields["shape"]), " of ", kernels::NameOf(*dtype), ")"));
  }
  return entry;
}

/// Sorts by position; refuses gaps, overlaps and bytes after the last tensor.
absl::Status CheckTiling(std::vector<Entry>& entries, int64_t data_bytes, std::string_view origin) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.begin < b.begin; });
  int64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != covered) {
      const std::string_view problem = entry.begin < covered ? "overlap" : "gap";
      return TensorRefusal(origin, entry.name)("begin of data_offsets",
                                               Concat(entry.begin, " (", problem, ")"),
                                               Concat(covered, ", the end of the tensor before"));
    }
    covered = entry.end;
  }
  if (covered == data_bytes) return absl::OkStatus();
  return Refusal(At(origin, "what follows the last tensor"),
                 Words{Concat(data_bytes - covered, " bytes")}, "nothing");
}

}  // namespace

absl::StatusOr<std::vector<NamedTensor>> ParseSafetensors(std::span<const std::byte> bytes,
                                                          std::string_view origin) {
  const absl::StatusOr<std::string_view> text = HeaderText(bytes, origin);
  if (!text.ok()) return text.status();
  const absl::StatusOr<json> header = ParseJsonObject(*text, origin);
  if (!header.ok()) return header.status();

  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + text->size());
  const auto data_bytes = static_cast<int64_t>(data.size());
  std::vector<Entry> entries;
  for (const auto& [name, fields] : header->items()) {
    if (name == "__metadata__") {
      const absl::Status status = CheckMetadata(fields, origin);
      if (!status.ok()) return status;
      continue;
    }
    absl::StatusOr<Entry> entry = ReadEntry(name, fields, data_bytes, origin);
    if (!entry.ok()) return entry.status();
    entries.push_back(*std::move(entry));
  }
  const absl::Status status = CheckTiling(entries, data_bytes, origin);
  if (!status.ok()) return status;

  std::vector<NamedTensor> tensors;
  tensors.reserve(entries.size());
  for (Entry& entry : entries) {
    entry.view.data = data.data() + entry.begin;
    tensors.emplace_back(std::move(entry.name), std::move(entry.view));
  }
  return tensors;
}

absl::StatusOr<Safetensors> Safetensors::Open(const std::filesystem::path& file) {
  absl::StatusOr<MappedFile> mapped = MappedFile::Open(file);
  if (!mapped.ok()) return mapped.status();
  const std::span<const std::byte> bytes = mapped->bytes();
  const absl::Status status =
      RefuseLfsPointer({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file.string());
  if (!status.ok()) return status;
  absl::StatusOr<std::vector<NamedTensor>> tensors = ParseSafetensors(bytes, file.string());
  if (!tensors.ok()) return tensors.status();
  return Safetensors(*std::move(mapped), *std::move(tensors));
}

}  // namespace fmaserver::model
