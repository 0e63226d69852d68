// Walks the fields of a serialized protocol buffer message without generated code.
// Format: https://protobuf.dev/programming-guides/encoding
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fmaserver::model {

struct ProtobufField {
  enum class Type : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  uint32_t number = 0;
  Type type = Type::kVarint;
  uint64_t value = 0;      ///< all types but kBytes
  std::string_view bytes;  ///< kBytes: a string or a message, inside the reader's buffer

  bool Is(uint32_t wanted_number, Type wanted_type) const {
    return number == wanted_number && type == wanted_type;
  }
};

/// The buffer must outlive the reader and the fields.
class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view buffer) : rest_(buffer) {}

  /// The next field; nothing at the end and when the buffer is malformed.
  std::optional<ProtobufField> Next();

  /// Whether reading stopped because the next bytes are not a field. Groups count as malformed.
  bool malformed() const { return malformed_; }

 private:
  bool ReadVarint(uint64_t& value);
  bool ReadFixed(int size, uint64_t& value);
  bool ReadBytes(std::string_view& bytes);
  bool ReadField(ProtobufField& field);

  std::string_view rest_;
  bool malformed_ = false;
};

}  // namespace fmaserver::model
