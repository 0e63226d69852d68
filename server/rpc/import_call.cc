#include "server/rpc/import_call.h"

#include <utility>

#include "fma/v1/sessions.pb.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/session_wire.h"
#include "server/rpc/status.h"

namespace fmaserver {

ImportCall* ImportCall::Start(const Services& services, const std::string& tenant,
                              grpc::ByteBuffer& response) {
  auto* call = new ImportCall(services, tenant, response);
  call->StartRead(&call->message_);
  return call;
}

void ImportCall::OnReadDone(bool ok) {
  services_.workers.Run([this, ok] {
    const absl::Status status = ok ? Take() : Complete();
    if (ok && status.ok()) {
      StartRead(&message_);
    } else {
      Finish(ToGrpcStatus(status));
    }
  });
}

absl::Status ImportCall::Take() {
  v1::ImportSessionRequest message;
  if (absl::Status status = ParseMessage(message_, message); !status.ok()) return status;
  if (import_ == nullptr) {
    auto import = services_.sessions.Import({tenant_, message.session().session_id()},
                                            LifetimeOf(message.session()));
    if (!import.ok()) return import.status();
    import_ = *std::move(import);
  }
  return import_->Write(message.data());
}

absl::Status ImportCall::Complete() {
  if (import_ == nullptr) {
    return absl::InvalidArgumentError("data: found none, allowed: the blob of an Export call");
  }
  const absl::StatusOr<SessionInfo> info = import_->Finish();
  if (info.ok()) response_ = SerializeMessage(ToWire(*info));
  return info.status();
}

}  // namespace fmaserver
