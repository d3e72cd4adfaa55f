import type { PackageDefinition } from '@grpc/proto-loader';
import descriptor from 'protobufjs/ext/descriptor/index.js';

interface MessageDescriptor {
  readonly reservedRange?: { start: number; end: number }[];
  readonly nestedType?: readonly MessageDescriptor[];
}

/**
 * The same definition with descriptors as other implementations read them: a reserved range ends before its `end`,
 * and protobufjs writes it inclusive, which strict clients refuse together with the whole file.
 */
export function reflectable(definition: PackageDefinition): PackageDefinition {
  const corrected = new Map<Buffer, Buffer>();
  const correct = (bytes: Buffer): Buffer => {
    const known = corrected.get(bytes);
    if (known !== undefined) return known;
    const file = descriptor.FileDescriptorProto.decode(bytes);
    for (const message of (file as unknown as { messageType?: readonly MessageDescriptor[] }).messageType ??
      [])
      closeRanges(message);
    const fixed = Buffer.from(descriptor.FileDescriptorProto.encode(file).finish());
    corrected.set(bytes, fixed);
    return fixed;
  };
  return Object.fromEntries(
    Object.entries(definition).map(([name, part]) => {
      if (!('fileDescriptorProtos' in part) || !Array.isArray(part.fileDescriptorProtos)) return [name, part];
      return [name, { ...part, fileDescriptorProtos: part.fileDescriptorProtos.map(correct) }];
    }),
  ) as PackageDefinition;
}

function closeRanges(message: MessageDescriptor): void {
  for (const range of message.reservedRange ?? []) range.end += 1;
  for (const nested of message.nestedType ?? []) closeRanges(nested);
}
