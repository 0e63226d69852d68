#include "model_loader/sentencepiece/protobuf_reader.h"

namespace fmaserver::model {

std::optional<ProtobufField> ProtobufReader::Next() {
  if (rest_.empty() || malformed_) return std::nullopt;
  ProtobufField field;
  malformed_ = !ReadField(field);
  if (malformed_) return std::nullopt;
  return field;
}

bool ProtobufReader::ReadField(ProtobufField& field) {
  uint64_t tag = 0;
  if (!ReadVarint(tag) || tag >> 3 == 0 || tag > UINT32_MAX) return false;
  field.number = static_cast<uint32_t>(tag >> 3);
  field.type = static_cast<ProtobufField::Type>(tag & 7);
  switch (field.type) {
    case ProtobufField::Type::kVarint:
      return ReadVarint(field.value);
    case ProtobufField::Type::kFixed64:
      return ReadFixed(8, field.value);
    case ProtobufField::Type::kBytes:
      return ReadBytes(field.bytes);
    case ProtobufField::Type::kFixed32:
      return ReadFixed(4, field.value);
  }
  return false;
}

bool ProtobufReader::ReadVarint(uint64_t& value) {
  constexpr int kMaxBits = 64;
  value = 0;
  for (int shift = 0; shift < kMaxBits && !rest_.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    value |= uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

bool ProtobufReader::ReadFixed(int size, uint64_t& value) {
  if (rest_.size() < static_cast<size_t>(size)) return false;
  value = 0;
  for (int i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(rest_[i]);
  rest_.remove_prefix(size);
  return true;
}

bool ProtobufReader::ReadBytes(std::string_view& bytes) {
  uint64_t size = 0;
  if (!ReadVarint(size) || size > rest_.size()) return false;
  bytes = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return true;
}

}  // namespace fmaserver::model
