// An extension of OHIF 3.13.2, registered after its own ones: what its image loader is told of an image, mended.
//
// - A provider that knows nothing of a type or an image says `undefined`, and the next one is asked.
// - `voiLUTFunction`: the loader takes the first entry of it, and of a string that is a letter, with which nothing is
//   drawn. What is no defined term (PS3.3 C.11.2.1.3) means LINEAR, as does none.
// - Pixels: what the loader gets is plain (`acceptHeader` asks so), and described as such: single bits in bytes, doubles
//   as floats, and color that is neither RGB nor YBR_FULL as RGB, which is also what its decoders make of it.
//   Segmentations come as whole files, single bits and all.
const archiveExtension = {
  id: 'dicomweb-archive',
  preRegistration() {
    const { metaData, Enums } = window.cornerstone;
    const SEGMENTATION = '1.2.840.10008.5.1.4.1.1.66.4';
    const functions = Object.values(Enums.VOILUTFunctionType);
    const corrections = {
      voiLutModule: module => ({
        ...module,
        voiLUTFunction: functions.filter(name => name === module.voiLUTFunction?.trim?.()),
      }),
      imagePixelModule: (module, imageId) => {
        if (!imageId.startsWith('wadors:')) return module; // a file from the disk
        const { bitsAllocated, samplesPerPixel, photometricInterpretation } = module;
        if (bitsAllocated === 1 && metaData.get('instance', imageId)?.SOPClassUID !== SEGMENTATION) {
          return { ...module, bitsAllocated: 8, bitsStored: 8, highBit: 7 };
        }
        if (bitsAllocated === 64) return { ...module, bitsAllocated: 32, bitsStored: 32, highBit: 31 };
        if (samplesPerPixel === 3 && !['RGB', 'YBR_FULL'].includes(photometricInterpretation)) {
          return { ...module, photometricInterpretation: 'RGB', planarConfiguration: 0 };
        }
        return module;
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
  },
};
