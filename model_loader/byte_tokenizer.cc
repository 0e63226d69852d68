#include "absl/status/status.h"
#include "base/refusal.h"
#include "base/utf8.h"
#include "model_loader/tokenizer.h"

namespace fmaserver::model {
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  explicit ByteTokenizer(int32_t vocab_size) : vocab_size_(vocab_size) {}

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const ControlPlaces&) const override {
    const absl::Status status = ValidateUtf8(text);
    if (!status.ok()) return status;
    std::vector<int32_t> ids;
    ids.reserve(text.size());
    for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
    return ids;
  }

  std::string TokenBytes(int32_t id) const override {
    const bool is_byte = id >= 0 && id < kByteValues;
    return is_byte ? std::string(1, static_cast<char>(id)) : std::string();
  }

  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const override {
    std::string bytes;
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocab_size_) {
        return Refusal("token id", id, FromTo(0, vocab_size_ - 1), absl::StatusCode::kOutOfRange);
      }
      bytes += TokenBytes(id);
    }
    return ReplaceInvalidUtf8(bytes);
  }

  int32_t VocabSize() const override { return vocab_size_; }
  std::string_view Kind() const override { return "bytes"; }

 private:
  const int32_t vocab_size_;
};

}  // namespace

std::unique_ptr<Tokenizer> MakeByteTokenizer(int64_t vocab_size) {
  return std::make_unique<ByteTokenizer>(static_cast<int32_t>(vocab_size));
}

}  // namespace fmaserver::model
