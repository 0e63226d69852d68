#include "server/rpc/import_call.h"

#include <utility>

#include "fma/v1/sessions.pb.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/session_room.h"
#include "server/rpc/session_wire.h"
#include "server/rpc/status.h"

namespace fmaserver::rpc {

ImportCall* ImportCall::Start(const Services& services, std::shared_ptr<Call> record,
                              grpc::ByteBuffer& response) {
  auto* call = new ImportCall(services, std::move(record), response);
  if (call->call_->admission().ok()) {
    call->StartRead(&call->message_);
  } else {
    call->End(call->call_->admission());
  }
  return call;
}

void ImportCall::OnReadDone(bool ok) {
  services_.workers.Run([this, ok] {
    const absl::Status status = ok ? Take() : Complete();
    if (ok && status.ok()) {
      StartRead(&message_);
    } else {
      End(status);
    }
  });
}

absl::Status ImportCall::Take() {
  v1::ImportSessionRequest message;
  if (absl::Status status = ParseMessage(message_, message); !status.ok()) return status;
  if (import_ == nullptr) {
    if (absl::Status room = CheckRoom(services_.sessions, *call_, 1); !room.ok()) return room;
    auto import = services_.sessions.Import({call_->tenant(), message.session().session_id()},
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
  const absl::StatusOr<sessions::SessionInfo> info = import_->Finish();
  if (info.ok()) response_ = SerializeMessage(ToWire(*info));
  return info.status();
}

void ImportCall::End(const absl::Status& status) {
  call_->SetStatus(status);
  Finish(ToGrpcStatus(status));
}

}  // namespace fmaserver::rpc
