// An extension of OHIF 3.13.2, registered after its own ones: what its image loader is told of an image, mended.
//
// - A provider that knows nothing of a type or an image says `undefined`, and the next one is asked.
// - `voiLUTFunction`: the loader takes the first entry of it, and of a string that is a letter, with which nothing is
//   drawn. What is no defined term (PS3.3 C.11.2.1.3) means LINEAR, as does none.
// - Pixels: what the loader gets is plain (`acceptHeader` asks so), and described as such: single bits in bytes, doubles
//   as floats, color in 8 bits, and color that is neither RGB nor YBR_FULL as RGB, which is also what its decoders make
//   of it. Segmentations come as whole files, single bits and all.
// - Palettes in segments (PS3.3 C.7.9.2) are written out for it; it waits for what is a promise.
// - A spacing of zero has no size on the screen: it is none, as if it were not there.
// - Images of classes it has no list of (retired, newer or private ones) are stacks as others are. Its handler of stacks
//   leaves out what has no Rows.
const archiveExtension = {
  id: 'dicomweb-archive',
  preRegistration({ extensionManager }) {
    const { metaData, Enums } = window.cornerstone;
    const SEGMENTATION = '1.2.840.10008.5.1.4.1.1.66.4';
    const functions = Object.values(Enums.VOILUTFunctionType);

    const words = (bytes, bits) => {
      const view = new DataView(bytes);
      if (bits <= 8) return new Uint8Array(bytes);
      return Uint16Array.from({ length: bytes.byteLength >> 1 }, (_, place) => view.getUint16(2 * place, true));
    };
    const expanded = (data, bits, count) => {
      const entries = [];
      const inPointer = bits <= 8 ? 4 : 2; // elements of the data in an offset of 32 bits
      const segments = (at, number, nested) => {
        while (number-- > 0 && at + 1 < data.length && entries.length < count) {
          const [kind, length] = data.subarray(at, at + 2);
          at += 2;
          if (kind === 0) {
            for (const end = at + length; at < end && at < data.length; at++) entries.push(data[at]);
          } else if (kind === 1 && at < data.length) {
            const from = entries.at(-1) ?? 0;
            const rise = data[at++] - from;
            for (let place = 1; place <= length; place++) entries.push(Math.floor(from + (rise * place) / length + 0.5));
          } else if (kind === 2 && !nested && at + inPointer <= data.length) {
            const pointer = [...data.subarray(at, at + inPointer)];
            const bytes = pointer.reduceRight((sum, part) => sum * (inPointer === 4 ? 256 : 65536) + part, 0);
            segments(inPointer === 4 ? bytes : bytes / 2, length, true);
            at += inPointer;
          } else return;
        }
      };
      segments(0, data.length, false);
      return entries.slice(0, count);
    };
    const bytesOf = async value => {
      const one = Array.isArray(value) ? value[0] : value;
      if (one.InlineBinary) return Uint8Array.from(atob(one.InlineBinary), each => each.charCodeAt(0)).buffer;
      return one.retrieveBulkData ? one.retrieveBulkData() : one;
    };
    const palettes = new WeakMap();
    const palette = (segmented, descriptor) => {
      const [count, , bits] = descriptor;
      const written = async () => expanded(words(await bytesOf(segmented), bits), bits, (count & 0xffff) || 65536);
      if (!palettes.has(segmented)) palettes.set(segmented, written());
      return palettes.get(segmented);
    };
    const withPalettes = (module, instance) => {
      const found = { ...module };
      for (const color of ['Red', 'Green', 'Blue']) {
        const segmented = instance[`Segmented${color}PaletteColorLookupTableData`];
        const key = `${color.toLowerCase()}PaletteColorLookupTable`;
        if (segmented) found[`${key}Data`] ??= palette(segmented, module[`${key}Descriptor`]);
      }
      return found;
    };

    const corrections = {
      voiLutModule: module => ({
        ...module,
        voiLUTFunction: functions.filter(name => name === module.voiLUTFunction?.trim?.()),
      }),
      imagePlaneModule: module => {
        if (module.rowPixelSpacing > 0 && module.columnPixelSpacing > 0) return module;
        return { ...module, rowPixelSpacing: 1, columnPixelSpacing: 1, pixelSpacing: [1, 1], usingDefaultValues: true };
      },
      imagePixelModule: (module, imageId) => {
        if (!imageId.startsWith('wadors:')) return module; // a file from the disk
        const { bitsAllocated, samplesPerPixel, photometricInterpretation } = module;
        const instance = metaData.get('instance', imageId) ?? {};
        if (bitsAllocated === 1 && instance.SOPClassUID !== SEGMENTATION) {
          return { ...withPalettes(module, instance), bitsAllocated: 8, bitsStored: 8, highBit: 7 };
        }
        if (photometricInterpretation === 'PALETTE COLOR') return withPalettes(module, instance);
        if (bitsAllocated === 64) return { ...module, bitsAllocated: 32, bitsStored: 32, highBit: 31 };
        if (samplesPerPixel !== 3) return module;
        const color = { ...module, bitsAllocated: 8, bitsStored: 8, highBit: 7 };
        if (['RGB', 'YBR_FULL'].includes(photometricInterpretation)) return color;
        return { ...color, photometricInterpretation: 'RGB', planarConfiguration: 0 };
      },
    };
    let asking = false;
    const corrected = (type, imageId) => {
      if (asking || !Object.hasOwn(corrections, type)) return undefined;
      asking = true;
      try {
        const module = metaData.get(type, imageId);
        return module && corrections[type](module, imageId);
      } finally {
        asking = false;
      }
    };
    metaData.addProvider(corrected, 100_000); // OHIF's own have 10_000 at most

    const stacks = extensionManager.getModuleEntry('@ohif/extension-default.sopClassHandlerModule.stack').sopClassUids;
    const listed = uid =>
      extensionManager.modules.sopClassHandlerModule
        .flatMap(({ module }) => module)
        .some(({ sopClassUids }) => Array.prototype.includes.call(sopClassUids, uid));
    stacks.includes = uid => Array.prototype.includes.call(stacks, uid) || !listed(uid);
  },
};
